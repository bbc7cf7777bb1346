"""The Q/DQ graphs: their types and places, their values, and that runtimes run them in integers."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from tests.calib.graphs import (
    check_activations,
    check_is_valid,
    constant,
    op_types,
    plain_table,
    producer,
    session_of,
    users,
)
from wrn_deploy.calib.collection.table import CalibrationTable, TensorRange
from wrn_deploy.calib.placement import tensorrt_points
from wrn_deploy.calib.writing.for_onnxruntime import quantize_for_onnxruntime
from wrn_deploy.calib.writing.for_tensorrt import quantize_for_tensorrt
from wrn_deploy.errors import DeployError
from wrn_deploy.export.half import convert_fp16


@pytest.fixture(scope="module")
def for_tensorrt(trained_graph: ir.Model, trained_half: ir.Model) -> ir.Model:
    return quantize_for_tensorrt(trained_graph, trained_half, plain_table(trained_graph.graph))


@pytest.fixture(scope="module")
def for_onnxruntime(trained_graph: ir.Model) -> ir.Model:
    return quantize_for_onnxruntime(trained_graph, plain_table(trained_graph.graph))


def convs(model: ir.Model) -> list[ir.Node]:
    return [node for node in model.graph if node.op_type == "Conv"]


def test_tensorrt_weights_are_int8_with_a_dq_alone(for_tensorrt: ir.Model) -> None:
    check_is_valid(for_tensorrt)
    assert len(convs(for_tensorrt)) == 9
    for conv in convs(for_tensorrt):
        dequantize = producer(conv.inputs[1])
        codes, scale, zero_point = (constant(value) for value in dequantize.inputs)
        assert dequantize.op_type == "DequantizeLinear"
        assert dequantize.attributes.get_int("axis") == 0
        assert [codes.dtype, scale.dtype, zero_point.dtype] == [
            np.dtype(np.int8),
            np.dtype(np.float16),
            np.dtype(np.int8),
        ]
        assert scale.shape == zero_point.shape == codes.shape[:1]
        assert not zero_point.any()
        assert codes.min() >= -127
        assert len(conv.inputs) < 3 or constant(conv.inputs[2]).dtype == np.float16, "biases stay in float"


def test_tensorrt_activations_are_symmetric_int8_with_fp16_scales(for_tensorrt: ir.Model) -> None:
    for node in check_activations(for_tensorrt, np.int8, np.float16):
        assert constant(node.inputs[2]) == 0
        assert constant(node.inputs[1]) == pytest.approx(4 / 127, rel=1e-3)


def test_tensorrt_qdq_stand_exactly_at_the_points(trained_graph: ir.Model, for_tensorrt: ir.Model) -> None:
    nodes = {node.name: node for node in for_tensorrt.graph}
    pointed = set()
    for point in tensorrt_points(trained_graph.graph):
        dequantize = producer(nodes[point.node].inputs[point.index])
        assert dequantize.op_type == "DequantizeLinear", point
        assert producer(dequantize.inputs[0]).op_type == "QuantizeLinear", point
        pointed.add((point.node, point.index))
    weights = {(conv.name, 1) for conv in convs(for_tensorrt)}
    for node in for_tensorrt.graph:
        for index, kind in enumerate(op_types(node.inputs)):
            if kind == "DequantizeLinear":
                assert (node.name, index) in pointed | weights, f"{node.name} has a needless DQ"
    by_kind = [op_types(node.inputs)[0] for node in for_tensorrt.graph if node.op_type in {"Relu", "Gemm", "Mul"}]
    assert "DequantizeLinear" not in by_kind


def test_a_tensor_is_quantized_once_for_all_of_its_users(for_tensorrt: ir.Model) -> None:
    names = [node.inputs[0].name for node in for_tensorrt.graph if node.op_type == "QuantizeLinear" and node.inputs[0]]
    assert len(names) == len(set(names)) == 7
    shared = next(node for node in for_tensorrt.graph if node.name == "block2.0.bn1.relu.dq")
    assert users(shared.outputs[0]) == ["Conv", "Conv"]


def test_no_fp32_weight_is_left(for_tensorrt: ir.Model, for_onnxruntime: ir.Model) -> None:
    for model, kept in ((for_tensorrt, []), (for_onnxruntime, ["conv1"])):
        assert all(value.uses() for value in model.graph.initializers.values())
        left = [conv.name for conv in convs(model) if f"{conv.name}.weight" in model.graph.initializers]
        assert left == kept


def test_the_originals_are_left_as_they_were(trained_graph: ir.Model, trained_half: ir.Model) -> None:
    before = [ir.to_proto(model).SerializeToString(deterministic=True) for model in (trained_graph, trained_half)]
    table = plain_table(trained_graph.graph)
    quantize_for_tensorrt(trained_graph, trained_half, table)
    quantize_for_onnxruntime(trained_graph, table)
    after = [ir.to_proto(model).SerializeToString(deterministic=True) for model in (trained_graph, trained_half)]
    assert before == after


def test_the_same_inputs_give_the_same_bytes(trained_graph: ir.Model, trained_half: ir.Model) -> None:
    table = plain_table(trained_graph.graph)
    for first, second in (
        (quantize_for_onnxruntime(trained_graph, table), quantize_for_onnxruntime(trained_graph, table)),
        (
            quantize_for_tensorrt(trained_graph, trained_half, table),
            quantize_for_tensorrt(trained_graph, trained_half, table),
        ),
    ):
        assert ir.to_proto(first).SerializeToString() == ir.to_proto(second).SerializeToString()


def test_bottleneck_weights_shrink_to_a_quarter(bottleneck_graph: ir.Model) -> None:
    half = convert_fp16(bottleneck_graph)
    quantized = quantize_for_tensorrt(bottleneck_graph, half, plain_table(bottleneck_graph.graph))
    kinds = [node.op_type for node in quantized.graph]
    assert (kinds.count("Conv"), kinds.count("QuantizeLinear"), kinds.count("DequantizeLinear")) == (53, 54, 107)
    size = sum(constant(value).nbytes for value in quantized.graph.initializers.values())
    assert size < 72e6, "int8 weights, and the classifier in fp16"


def dequantized_weights(model: ir.Model, conv: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    node = next(node for node in model.graph if node.name == conv)
    codes, scale, _ = (constant(value).astype(np.float64) for value in producer(node.inputs[1]).inputs)
    return codes * scale[:, None, None, None], scale


def changed(model: ir.Model, conv: str, channels: dict[int, float], bias: float | None = None) -> ir.Model:
    """A copy in which the weights of some output channels are multiplied by a factor, and have the given bias."""
    copy = model.clone()
    node = next(node for node in copy.graph if node.name == conv)
    weights = constant(node.inputs[1]).copy()
    biases = constant(node.inputs[2]).copy() if len(node.inputs) > 2 else None
    for channel, factor in channels.items():
        weights[channel] = (weights[channel].astype(np.float32) * factor).astype(weights.dtype)
        if biases is not None and bias is not None:
            biases[channel] = bias
    for value, data in zip(node.inputs[1:], (weights, biases), strict=False):
        assert value is not None
        assert data is not None
        value.const_value = ir.Tensor(data, name=value.name)
    return copy


FACTORS = {0: 1.0, 1: 0.0, 2: 1e-3, 3: 1e-5, 4: 3e-6, 5: 1e-7, 6: 1e-30, 7: 20.0}


def test_weights_come_back_to_half_a_step_even_of_nearly_dead_channels(trained_graph: ir.Model) -> None:
    fp32 = changed(trained_graph, "block1.0.conv1", FACTORS)
    original = constant(fp32.graph.initializers["block1.0.conv1.weight"]).astype(np.float64)
    table = plain_table(trained_graph.graph)
    for model in (quantize_for_tensorrt(fp32, convert_fp16(fp32), table), quantize_for_onnxruntime(fp32, table)):
        found, scale = dequantized_weights(model, "block1.0.conv1")
        assert np.isfinite(found).all()
        assert (scale > 0).all()
        assert (np.abs(found - original) <= 0.5001 * scale[:, None, None, None]).all()
        assert not found[1].any(), "a channel of zeros stays zero"


@pytest.mark.parametrize("bias", [0.5, -300.0])
def test_a_dead_channel_keeps_its_bias_and_gives_no_nan(
    trained_graph: ir.Model, digits: npt.NDArray[np.float32], bias: float
) -> None:
    """All weights of a channel are zero, or nearly: its output is its bias, and that must not be clipped."""
    fp32 = changed(trained_graph, "block1.0.conv1", {0: 0.0, 1: 1e-7}, bias)
    table = plain_table(trained_graph.graph)
    wide = dataclasses.replace(
        table,
        tensors={
            **table.tensors,
            "block1.0.conv1.relu": TensorRange(low=0.0, high=max(bias, 4.0), amax=max(bias, 4.0), clipped=0.0),
        },
    )
    quantized = quantize_for_onnxruntime(fp32, wide)
    conv = next(node for node in quantized.graph if node.name == "block1.0.conv1")
    codes, scale, _ = (constant(value).astype(np.float64) for value in producer(conv.inputs[2]).inputs)
    np.testing.assert_allclose((codes * scale)[:2], bias, rtol=1e-6)
    wanted, found = (session_of(model).run(None, {"images": digits})[0] for model in (fp32, quantized))
    assert np.isfinite(found).all()
    half = quantize_for_tensorrt(fp32, convert_fp16(fp32), wide)
    assert np.isfinite(session_of(half).run(None, {"images": digits})[0]).all()
    assert wanted.shape == found.shape


@pytest.mark.parametrize("tensor", ["block2.0.bn1.relu", "conv1", "images", "block1.0.conv1.relu"])
@pytest.mark.parametrize("reach", [0.0, 1e-40, 1e-9])
def test_a_tensor_that_is_always_zero_gives_no_nan(
    trained_graph: ir.Model, trained_half: ir.Model, digits: npt.NDArray[np.float32], tensor: str, reach: float
) -> None:
    table = plain_table(trained_graph.graph)
    silent = dataclasses.replace(
        table, tensors={**table.tensors, tensor: TensorRange(low=0.0, high=reach, amax=reach, clipped=0.0)}
    )
    for model in (
        quantize_for_tensorrt(trained_graph, trained_half, silent),
        quantize_for_onnxruntime(trained_graph, silent),
    ):
        assert np.isfinite(session_of(model).run(None, {"images": digits})[0]).all()


def test_a_table_of_another_graph_is_refused(trained_graph: ir.Model, trained_half: ir.Model) -> None:
    empty = CalibrationTable(
        method="max", percentile=None, data="digits", data_digest="", images=1, graph_sha256="", tensors={}
    )
    with pytest.raises(DeployError, match="no range for images: it is for another graph"):
        quantize_for_tensorrt(trained_graph, trained_half, empty)
    with pytest.raises(DeployError, match=r"no range for .*: it is for another graph"):
        quantize_for_onnxruntime(trained_graph, empty)
