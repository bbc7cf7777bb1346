"""The fp16 graph: half inside, float32 at both ends, and as near to fp32 as half can be."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn

from tests.export.conftest import Exported, run_graph
from wrn_deploy.errors import DeployError
from wrn_deploy.export.check import TOLERANCES, check_structure, compare
from wrn_deploy.export.graph import export_graph
from wrn_deploy.export.half import LARGEST_FP16, convert_fp16
from wrn_deploy.pipeline.networks.export import probe_images
from wrn_deploy.spec import Precision

Export = Callable[[str], Exported]


def _bytes(model: ir.Model) -> bytes:
    content: bytes = ir.to_proto(model).SerializeToString()
    return content


@pytest.mark.parametrize("name", ["wrn-16-2", "wrn-40-1"])
def test_nothing_inside_is_float32(exported: Export, name: str) -> None:
    half = convert_fp16(exported(name).graph)
    kinds = Counter(value.dtype for value in half.graph.initializers.values())
    assert ir.DataType.FLOAT not in kinds
    assert kinds[ir.DataType.FLOAT16] > 30
    inner = {node.name: node.outputs[0].dtype for node in half.graph}
    assert inner.pop("logits") is ir.DataType.FLOAT
    assert set(inner.values()) == {ir.DataType.FLOAT16}


def test_input_and_output_are_those_of_the_fp32_graph(exported: Export) -> None:
    made = exported("wrn-16-2")
    half = convert_fp16(made.graph)
    for one, other in zip(
        (*made.graph.graph.inputs, *made.graph.graph.outputs), (*half.graph.inputs, *half.graph.outputs), strict=True
    ):
        assert (one.name, str(one.shape), one.dtype) == (other.name, str(other.shape), other.dtype)
    assert [node.op_type for node in half.graph if node.op_type == "Cast"] == ["Cast", "Cast"]
    assert half.graph[0].op_type == half.graph[-1].op_type == "Cast"
    check_structure(half, made.spec)


def test_it_is_half_as_large(exported: Export) -> None:
    made = exported("wrn-16-2")
    assert len(_bytes(convert_fp16(made.graph))) < 0.51 * len(_bytes(made.graph))


def test_the_fp32_graph_is_left_as_it_was_and_the_result_is_always_the_same(exported: Export) -> None:
    made = exported("wrn-16-2")
    before = _bytes(made.graph)
    first, second = _bytes(convert_fp16(made.graph)), _bytes(convert_fp16(made.graph))
    assert _bytes(made.graph) == before
    assert first == second


def test_no_bn_is_left_and_each_became_a_product_and_a_sum(exported: Export) -> None:
    made = exported("wrn-40-1")
    before, after = (Counter(node.op_type for node in graph.graph) for graph in (made.graph, convert_fp16(made.graph)))
    assert before["BatchNormalization"] == 19
    assert after["BatchNormalization"] == 0
    assert after["Mul"] == 19
    assert after["Add"] == before["Add"] + 19
    assert after["Conv"] == before["Conv"]


@pytest.mark.parametrize("batch", [1, 3, 17])
@pytest.mark.parametrize("name", ["wrn-16-2", "wrn-40-1"])
def test_it_computes_nearly_the_same_at_any_batch_size(exported: Export, name: str, batch: int) -> None:
    made = exported(name)
    images = probe_images(made.spec, 40)[-batch:]
    wanted, found = made.infer(images), run_graph(convert_fp16(made.graph), images)
    assert found.dtype == np.float32
    assert compare(wanted, found, TOLERANCES[Precision.FP16]).within(TOLERANCES[Precision.FP16])
    assert 0 < np.abs(wanted - found).max() < 0.02 * np.abs(wanted).max()


def test_random_weights_of_a_deep_imagenet_network_pass(exported: Export) -> None:
    """At 224x224 full residual branches gave a cosine of 0.9991 here, and of 0.9925 with wrn-101-2."""
    made = exported("wrn-50-2")
    images = probe_images(made.spec, 8)
    parity = compare(made.infer(images), run_graph(convert_fp16(made.graph), images), TOLERANCES[Precision.FP16])
    assert parity.cosine > 0.9999
    assert parity.within(TOLERANCES[Precision.FP16])


def test_a_trained_network_keeps_its_answers(reader: Exported) -> None:
    images = probe_images(reader.spec, 300)
    wanted, found = reader.infer(images), run_graph(convert_fp16(reader.graph), images)
    assert (wanted.argmax(1) == found.argmax(1)).mean() > 0.99
    assert compare(wanted, found, TOLERANCES[Precision.FP16]).within(TOLERANCES[Precision.FP16])


def _export(made: Exported, change: Callable[[nn.Module], None]) -> tuple[nn.Module, ir.Model]:
    network = copy.deepcopy(made.network)
    with torch.no_grad():
        change(network)
    return network, export_graph(network, made.spec)


def test_the_factors_of_bn_are_computed_before_they_are_rounded(exported: Export) -> None:
    """A variance of 1e-9 and the epsilon of 1e-5 are next to nothing in half; their root is not."""

    def calm(network: nn.Module) -> None:
        network.get_buffer("bn1.running_var").fill_(1e-9)
        network.get_parameter("bn1.weight").mul_(1e-3)

    made = exported("wrn-10-1")
    network, graph = _export(made, calm)
    images = probe_images(made.spec, 8)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(images)).numpy()
    parity = compare(wanted, run_graph(convert_fp16(graph), images), TOLERANCES[Precision.FP16])
    assert parity.cosine > 0.9999
    assert parity.max_abs < 0.01 * parity.largest_logit


@pytest.mark.parametrize("sign", [1, -1])
def test_a_weight_that_half_cannot_hold_is_named_with_its_size(exported: Export, sign: int) -> None:
    def enlarge(network: nn.Module) -> None:
        network.get_parameter("fc.weight")[3, 5] = sign * 70000.0

    _, graph = _export(exported("wrn-10-1"), enlarge)
    with pytest.raises(
        DeployError, match=r"fc\.weight reaches 70000: fp16 ends at 65504; this network cannot run in fp16"
    ):
        convert_fp16(graph)


def test_the_largest_number_of_half_is_still_a_weight(exported: Export) -> None:
    def enlarge(network: nn.Module) -> None:
        network.get_parameter("fc.weight")[3, 5] = LARGEST_FP16

    _, graph = _export(exported("wrn-10-1"), enlarge)
    value = convert_fp16(graph).graph.initializers["fc.weight"].const_value
    assert value is not None
    assert float(value.numpy().max()) == LARGEST_FP16 == 65504


def test_a_factor_of_bn_that_half_cannot_hold_is_named(exported: Export) -> None:
    def enlarge(network: nn.Module) -> None:
        network.get_parameter("bn1.weight").fill_(1e6)

    _, graph = _export(exported("wrn-10-1"), enlarge)
    with pytest.raises(DeployError, match=r"bn1\.scale reaches .*: fp16 ends at 65504"):
        convert_fp16(graph)


def test_an_input_that_is_used_twice_is_cast_once() -> None:
    images = ir.val("images", ir.DataType.FLOAT, ["batch", 3])
    relu = ir.node("Relu", [images], name="relu")
    total = ir.node("Add", [relu.outputs[0], images], name="add")
    for node, name in ((relu, "relu"), (total, "logits")):
        node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = name, images.type, images.shape
    graph = ir.Graph([images], [total.outputs[0]], nodes=[relu, total], name="twice", opset_imports={"": 20})
    half = convert_fp16(ir.Model(graph, ir_version=10))
    onnx.checker.check_model(ir.to_proto(half), full_check=True)
    assert Counter(node.op_type for node in half.graph) == {"Cast": 2, "Relu": 1, "Add": 1}
    values = np.array([[-1, 0.5, 2]], dtype=np.float32)
    np.testing.assert_array_equal(run_graph(half, values), [[-1, 1, 4]])
