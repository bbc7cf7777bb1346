"""The bf16 graph: bf16 inside, float32 at both ends, and what it computes, found in two ways without a GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch.nn import functional

from tests.export.conftest import Exported, Images, run_graph
from wrn_deploy.errors import DeployError
from wrn_deploy.export.check import TOLERANCES, check_structure, compare
from wrn_deploy.export.half import LARGEST_BF16, convert_bf16, emulate_bf16
from wrn_deploy.pipeline.networks.export import probe_images
from wrn_deploy.spec import Precision

Export = Callable[[str], Exported]
TOLERANCE = TOLERANCES[Precision.BF16]


@pytest.mark.parametrize("name", ["wrn-16-2", "wrn-50-2"])
def test_nothing_inside_is_float32_and_no_bn_is_left(exported: Export, name: str) -> None:
    made = exported(name)
    graph = convert_bf16(made.graph).graph
    assert ir.DataType.FLOAT not in {value.dtype for value in graph.initializers.values()}
    inner = {node.name: node.outputs[0].dtype for node in graph}
    assert inner.pop("logits") is ir.DataType.FLOAT
    assert set(inner.values()) == {ir.DataType.BFLOAT16}
    assert "BatchNormalization" not in {node.op_type for node in graph}


@pytest.mark.parametrize("name", ["wrn-16-2", "wrn-50-2"])
def test_it_is_valid_onnx_with_the_fp32_graphs_input_and_output(exported: Export, name: str) -> None:
    """Conv, MaxPool and others take bf16 in no opset before 22, which onnx.checker knows."""
    made = exported(name)
    converted = convert_bf16(made.graph)
    check_structure(converted, made.spec)
    assert made.graph.graph.opset_imports[""] == 20, "the fp32 graph is left as it was"
    assert converted.graph.opset_imports[""] == 22


def test_the_weights_are_those_of_fp32_rounded_to_the_nearest(exported: Export) -> None:
    made = exported("wrn-16-2")
    fp32, bf16 = made.graph.graph.initializers, convert_bf16(made.graph).graph.initializers
    for name in ("conv1.weight", "block2.0.conv1.bias", "fc.weight"):
        wanted, found = fp32[name].const_value, bf16[name].const_value
        assert wanted is not None
        assert found is not None
        np.testing.assert_array_equal(found.numpy(), wanted.numpy().astype(ml_dtypes.bfloat16))


def test_a_weight_that_fp16_cannot_hold_is_one_of_bf16() -> None:
    def graph_with(weight: float) -> ir.Model:
        images = ir.val("images", ir.DataType.FLOAT, ["batch", 3])
        factor = ir.val("factor", const_value=ir.tensor(np.array([weight], dtype=np.float32), name="factor"))
        node = ir.node("Mul", [images, factor], name="logits")
        node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = "logits", images.type, images.shape
        graph = ir.Graph([images], node.outputs, nodes=[node], initializers=[factor], opset_imports={"": 20})
        return ir.Model(graph, ir_version=10)

    kept = convert_bf16(graph_with(1e30)).graph.initializers["factor"].const_value
    assert kept is not None
    assert float(kept.numpy()[0]) == pytest.approx(1e30, rel=2**-8)
    assert torch.finfo(torch.bfloat16).max == LARGEST_BF16
    with pytest.raises(DeployError, match=r"factor reaches 3\.4e\+38: bf16 ends at 3\.38953e\+38; .* in bf16"):
        convert_bf16(graph_with(3.4e38))


def computed_in_bf16(model: ir.Model, images: Images) -> Images:
    """What PyTorch's own bf16 kernels make of the graph, node by node."""
    values = {}
    for name, initializer in model.graph.initializers.items():
        assert initializer.const_value is not None
        array = initializer.const_value.numpy()
        is_bf16 = initializer.dtype is ir.DataType.BFLOAT16
        values[name] = torch.from_numpy(array.astype(np.float32)).bfloat16() if is_bf16 else torch.from_numpy(array)
    values["images"] = torch.from_numpy(images)
    for node in model.graph:
        one, *others = (values[value.name or ""] for value in node.inputs if value is not None)
        values[node.outputs[0].name or ""] = _compute(node, one, others)
    logits: Images = values["logits"].numpy()
    return logits


def _compute(node: ir.Node, one: torch.Tensor, others: list[torch.Tensor]) -> torch.Tensor:
    if node.op_type == "Conv":
        strides, pads = (list(node.attributes.get_ints(name, [0] * 4))[:2] for name in ("strides", "pads"))
        bias = others[1] if len(others) > 1 else None
        return functional.conv2d(one, others[0], bias, stride=strides, padding=pads)
    computed: dict[str, Callable[..., torch.Tensor]] = {
        "Cast": lambda: one.to(torch.bfloat16 if node.outputs[0].dtype is ir.DataType.BFLOAT16 else torch.float32),
        "Relu": lambda: torch.relu(one),
        "Add": lambda: one + others[0],
        "Mul": lambda: one * others[0],
        "ReduceMean": lambda: one.mean((2, 3)),
        "Gemm": lambda: functional.linear(one, *others),
    }
    return computed[node.op_type]()


@pytest.mark.parametrize("batch", [1, 17])
def test_the_emulation_computes_what_bf16_kernels_compute(reader: Exported, batch: int) -> None:
    """Two roundings of the same numbers: their errors against fp32 are much alike, their difference is smaller."""
    images = probe_images(reader.spec, 40)[-batch:]
    bf16 = convert_bf16(reader.graph)
    wanted, found = computed_in_bf16(bf16, images), run_graph(emulate_bf16(bf16), images)
    fp32 = reader.infer(images)
    assert compare(fp32, wanted, TOLERANCE).within(TOLERANCE)
    assert compare(fp32, found, TOLERANCE).within(TOLERANCE)
    assert 0 < np.abs(found - fp32).mean() < 2 * np.abs(wanted - fp32).mean()
    assert np.abs(found - wanted).mean() < 0.5 * np.abs(found - fp32).mean()


def test_the_emulation_rounds_every_result(reader: Exported) -> None:
    """ONNX Runtime must not cancel the Casts: the logits of its fp32 classifier are numbers of bf16."""
    images = probe_images(reader.spec, 8)
    bf16 = convert_bf16(reader.graph)
    found = run_graph(emulate_bf16(bf16), images)
    np.testing.assert_array_equal(found, found.astype(ml_dtypes.bfloat16).astype(np.float32))
    kinds = Counter(node.op_type for node in bf16.graph)
    casts = Counter(node.op_type for node in emulate_bf16(bf16).graph)["Cast"]
    assert casts == 3 + 2 * (kinds.total() - kinds["Cast"])


@pytest.mark.parametrize("name", ["wrn-16-2", "wrn-40-1", "wrn-50-2"])
def test_it_computes_nearly_the_same_as_the_network(exported: Export, name: str) -> None:
    made = exported(name)
    images = probe_images(made.spec, 8)
    found = run_graph(emulate_bf16(convert_bf16(made.graph)), images)
    assert compare(made.infer(images), found, TOLERANCE).within(TOLERANCE)


def test_a_trained_network_keeps_its_answers(reader: Exported) -> None:
    images = probe_images(reader.spec, 300)
    wanted, found = reader.infer(images), run_graph(emulate_bf16(convert_bf16(reader.graph)), images)
    assert (wanted.argmax(1) == found.argmax(1)).mean() > 0.98
    assert compare(wanted, found, TOLERANCE).within(TOLERANCE)
