"""What is trained of a Q/DQ graph is what is stored in it: codes, scales, fp16 numbers and int32 biases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
import torch

from tests.calib.graphs import constant
from tests.calib.quantized import logits, quantized, ranges_of, with_biases
from wrn_deploy.calib.collection.table import CalibrationTable
from wrn_deploy.calib.qat.execute import TorchGraph
from wrn_deploy.calib.qat.parameters import tied_scales
from wrn_deploy.calib.qat.trainable import Trainable
from wrn_deploy.calib.writing.exact_input import PIXELS
from wrn_deploy.calib.writing.fold_strides import fold_strides
from wrn_deploy.calib.writing.for_onnxruntime import integer_norms, quantize_for_onnxruntime
from wrn_deploy.calib.writing.int8_weights import find_int8_weights
from wrn_deploy.models import describe_model

Images = npt.NDArray[np.float32]


def for_tensorrt(model: ir.Model, images: Images, folder: Path) -> ir.Model:
    return quantized(with_biases(model), images, folder, describe_model("wrn-10-1").preprocessing)[1]


def for_onnxruntime(model: ir.Model, images: Images, folder: Path) -> ir.Model:
    ranges = ranges_of(model, images, folder)
    tensors = {name: kept.whole.clipped(lambda _histogram, amax: amax) for name, kept in ranges.items()}
    table = CalibrationTable(
        method="max",
        percentile=None,
        data="digits",
        data_digest="0" * 64,
        images=len(images),
        graph_sha256="0" * 64,
        tensors=tensors,
    )
    return fold_strides(integer_norms(quantize_for_onnxruntime(with_biases(model), table)))


MAKERS = {"TensorRT": for_tensorrt, "ONNX Runtime": for_onnxruntime}


@pytest.fixture(params=MAKERS)
def graph(request: pytest.FixtureRequest, trained_graph: ir.Model, digits: Images, tmp_path: Path) -> ir.Model:
    """Its int8 graph, with the exact input for TensorRT, and with integer BN for ONNX Runtime."""
    return MAKERS[request.param](trained_graph, digits[:16], tmp_path)


def moved(model: ir.Model, *, scales: bool = True) -> tuple[TorchGraph, Trainable]:
    """All that can be trained is somewhere else than it was."""
    torch.manual_seed(0)
    executed = TorchGraph(model)
    values = Trainable(model, executed, scales=scales)
    groups = values.groups(1.0)
    with torch.no_grad():
        for group in groups:
            for moves in group["params"]:
                moves.copy_(3.0 * group["lr"] * (torch.rand_like(moves) - 0.5))
    return executed, values


def values_of(model: ir.Model) -> dict[str, npt.NDArray[np.generic]]:
    return {name: constant(value) for name, value in model.graph.initializers.items()}


def nodes_of(model: ir.Model) -> list[tuple[object, ...]]:
    """All that makes a graph but the values of its initializers."""
    return [
        (
            node.op_type,
            node.name,
            [value.name if value is not None else "" for value in node.inputs],
            [value.name for value in node.outputs],
            {name: attribute.value for name, attribute in node.attributes.items()},
        )
        for node in model.graph
    ]


def test_at_the_start_all_is_as_it_is_stored(graph: ir.Model) -> None:
    before = values_of(graph)
    Trainable(graph, TorchGraph(graph), scales=True).store()
    assert {name: array.tobytes() for name, array in values_of(graph).items()} == {
        name: array.tobytes() for name, array in before.items()
    }


def test_what_is_trained_is_what_is_written(graph: ir.Model, digits: Images) -> None:
    """To the last bit in PyTorch, and as ONNX Runtime computes it."""
    executed, values = moved(graph)
    images = torch.from_numpy(digits[:16])
    with torch.no_grad():
        trained = executed.run(images, values.constants()).numpy()
        before = executed.run(images).numpy()
    values.store()
    written = TorchGraph(ir.from_proto(ir.to_proto(graph))).run(images).numpy()
    assert np.array_equal(trained, written)
    assert np.abs(trained - before).max() > 0.1
    theirs = logits(graph, digits[:16])
    assert np.sqrt(np.mean((theirs - written) ** 2)) <= 0.05 * written.std()


def test_nodes_and_types_stay(graph: ir.Model) -> None:
    nodes, before = nodes_of(graph), values_of(graph)
    moved(graph)[1].store()
    after = values_of(graph)
    assert nodes_of(graph) == nodes
    assert {name: (array.dtype, array.shape) for name, array in after.items()} == {
        name: (array.dtype, array.shape) for name, array in before.items()
    }
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert {name for name in changed if name.endswith(".zero_point") or name.startswith(PIXELS)} == set()
    assert any(name.endswith(".weight.q") for name in changed)
    assert any(name.endswith("relu.scale") for name in changed)
    assert any(name.startswith("fc.") for name in changed)


def test_without_scales_they_stay(trained_graph: ir.Model, digits: Images, tmp_path: Path) -> None:
    model = for_tensorrt(trained_graph, digits[:16], tmp_path)
    before = values_of(model)
    moved(model, scales=False)[1].store()
    after = values_of(model)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed
    # A BN in the fp16 graph is a multiplication by a constant that is called scale, too.
    assert not [name for name in changed if name.endswith(".scale") and before[name].ndim < 4]


def test_integer_biases_follow_the_scales(trained_graph: ir.Model, digits: Images, tmp_path: Path) -> None:
    model = for_onnxruntime(trained_graph, digits[:16], tmp_path)
    moved(model)[1].store()
    checked = 0
    for node in model.graph:
        if node.op_type == "Conv" and find_int8_weights(model).get(node.name or "") is not None:
            values, weights, bias = (value.producer() for value in node.inputs if value is not None)
            assert values is not None
            assert weights is not None
            assert bias is not None
            unit = constant(values.inputs[1]) * constant(weights.inputs[1])
            assert np.array_equal(constant(bias.inputs[1]), unit)
            checked += 1
    assert checked >= 8


def test_zeros_of_a_folded_stride_and_the_weight_of_a_norm_stay(
    trained_graph: ir.Model, digits: Images, tmp_path: Path
) -> None:
    model = for_onnxruntime(trained_graph, digits[:16], tmp_path)
    name = next(name for name in values_of(model) if name.endswith("conv1.weight.q"))
    codes = constant(model.graph.initializers[name]).copy()
    codes[:, 0] = 0
    model.graph.initializers[name].const_value = ir.Tensor(codes, name=name)
    norms = {key: array for key, array in values_of(model).items() if array.dtype == np.int8 and array[:1].size == 1}
    assert norms
    moved(model)[1].store()
    after = values_of(model)
    assert not np.any(after[name][:, 0])
    assert all(np.array_equal(after[key], array) for key, array in norms.items() if array.ndim == 4)


def test_the_scales_around_a_max_pool_stay_equal() -> None:
    values = {name: ir.val(name) for name in ("x", "y", "a.scale", "b.scale", "zero")}
    quantize = ir.node("QuantizeLinear", [values["x"], values["a.scale"], values["zero"]], name="a.q")
    dequantize = ir.node("DequantizeLinear", [quantize.outputs[0], values["a.scale"], values["zero"]], name="a.dq")
    pool = ir.node("MaxPool", [dequantize.outputs[0]], {"kernel_shape": [2, 2]}, name="pool")
    behind = ir.node("QuantizeLinear", [pool.outputs[0], values["b.scale"], values["zero"]], name="b.q")
    graph = ir.Graph([values["x"]], [behind.outputs[0]], nodes=[quantize, dequantize, pool, behind])
    assert tied_scales(graph) == dict.fromkeys(("a.scale", "b.scale"), ("a.scale", "b.scale"))


def test_space_to_depth_is_onnx_runtimes() -> None:
    image = ir.val("x", dtype=ir.DataType.FLOAT, shape=ir.Shape([2, 3, 4, 6]))
    node = ir.node("SpaceToDepth", [image], {"blocksize": 2}, name="fold")
    node.outputs[0].name, node.outputs[0].type = "y", image.type
    model = ir.Model(
        ir.Graph([image], [node.outputs[0]], nodes=[node], opset_imports={"": 20}, name="g"), ir_version=10
    )
    images = np.arange(144, dtype=np.float32).reshape(2, 3, 4, 6)
    assert np.array_equal(TorchGraph(model).run(torch.from_numpy(images)).numpy(), logits(model, images))
