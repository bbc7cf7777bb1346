"""The fp8 graph: its types and places, its values, and that it computes nearly what fp32 computes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from tests.calib.graphs import check_activations, check_is_valid, constant, op_types, plain_table, producer
from tests.calib.quantized import ranges_of
from wrn_deploy.calib.collection.table import CalibrationTable, TensorRange
from wrn_deploy.calib.placement import tensorrt_points
from wrn_deploy.calib.writing.for_tensorrt import FLOAT_CONVS, first_convs, quantize_fp8
from wrn_deploy.calib.writing.qdq import FP8, INT8, Codec
from wrn_deploy.export.half import convert_fp16
from wrn_deploy.runtime.sessions import infer_with, open_session

CODES = np.dtype(ml_dtypes.float8_e4m3fn)


@pytest.fixture(scope="module")
def fp8(trained_graph: ir.Model, trained_half: ir.Model) -> ir.Model:
    return quantize_fp8(trained_graph, trained_half, plain_table(trained_graph.graph))


def convs(model: ir.Model) -> list[ir.Node]:
    return [node for node in model.graph if node.op_type == "Conv"]


def test_weights_are_stored_in_fp8_with_one_scale_and_a_dq_alone(fp8: ir.Model) -> None:
    check_is_valid(fp8)
    quantized = [conv for conv in convs(fp8) if conv.name != "conv1"]
    assert len(quantized) == 8
    for conv in quantized:
        dequantize = producer(conv.inputs[1])
        codes, scale, zero_point = (constant(value) for value in dequantize.inputs)
        assert dequantize.op_type == "DequantizeLinear"
        assert [codes.dtype, scale.dtype, zero_point.dtype] == [CODES, np.dtype(np.float16), CODES]
        assert scale.shape == zero_point.shape == ()
        assert np.abs(codes.astype(np.float32)).max() > 400, "the largest code is near 448"
        assert len(conv.inputs) < 3 or constant(conv.inputs[2]).dtype == np.float16, "biases stay in float"


def test_activations_have_one_fp16_scale_of_which_the_largest_magnitude_is_448_times(fp8: ir.Model) -> None:
    for node in check_activations(fp8, ml_dtypes.float8_e4m3fn, np.float16):
        assert float(constant(node.inputs[2])) == 0
        assert float(constant(node.inputs[1])) == pytest.approx(4 / 448, rel=1e-3)


def test_the_threshold_of_the_method_changes_nothing(
    fp8: ir.Model, trained_graph: ir.Model, trained_half: ir.Model
) -> None:
    table = plain_table(trained_graph.graph)
    clipped = {name: dataclasses.replace(kept, amax=1.0, clipped=0.5) for name, kept in table.tensors.items()}
    again = quantize_fp8(trained_graph, trained_half, dataclasses.replace(table, tensors=clipped))
    assert ir.to_proto(again).SerializeToString() == ir.to_proto(fp8).SerializeToString()


def test_qdq_stand_where_those_of_int8_do_but_for_the_first_conv(fp8: ir.Model, trained_graph: ir.Model) -> None:
    nodes = {node.name: node for node in fp8.graph}
    pointed = {(point.node, point.index) for point in tensorrt_points(trained_graph.graph)} - {("conv1", 0)}
    weights = {(conv.name, 1) for conv in convs(fp8)} - {("conv1", 1)}
    found = {
        (node.name, index)
        for node in nodes.values()
        for index, kind in enumerate(op_types(node.inputs))
        if kind == "DequantizeLinear"
    }
    assert found == pointed | weights
    assert json.loads(fp8.metadata_props[FLOAT_CONVS]) == ["conv1"], "it is float on purpose"


def test_a_max_pool_stays_in_fp16(bottleneck_graph: ir.Model) -> None:
    quantized = quantize_fp8(bottleneck_graph, convert_fp16(bottleneck_graph), plain_table(bottleneck_graph.graph))
    (pool,) = [node for node in quantized.graph if node.op_type == "MaxPool"]
    assert op_types(pool.inputs) == ["Relu"]
    assert first_convs(bottleneck_graph.graph) == ["conv1"]
    kinds = [node.op_type for node in quantized.graph]
    assert (kinds.count("Conv"), kinds.count("QuantizeLinear"), kinds.count("DequantizeLinear")) == (53, 52, 104)


def test_weights_come_back_to_half_a_code(fp8: ir.Model, trained_graph: ir.Model) -> None:
    """3 bits of mantissa: a sixteenth of a normal code; below 2**-6 codes lie 2**-9 apart."""
    for conv in convs(fp8)[1:]:
        original = constant(trained_graph.graph.initializers[f"{conv.name}.weight"]).astype(np.float64)
        codes, scale, _ = (constant(value).astype(np.float64) for value in producer(conv.inputs[1]).inputs)
        error = np.abs(codes * scale - original)
        assert (error <= np.maximum(np.abs(original) / 16, scale * 2.0**-10) * 1.0001).all()
        assert error.any()


@pytest.mark.parametrize(
    ("codec", "between", "wanted"), [(INT8, [1.49, 0.51, 2.5], [1, 1, 2]), (FP8, [1.49, 1.06, 34.0], [1.5, 1, 32])]
)
def test_codes_are_the_nearest_ones_and_the_largest_is_kept(
    codec: Codec, between: list[float], wanted: list[float]
) -> None:
    representable = np.array([0.0, 1.0, -3.0, 40.0, codec.largest, -codec.largest], dtype=np.float32)
    np.testing.assert_array_equal(codec.encode(representable).astype(np.float32), representable)
    np.testing.assert_array_equal(codec.encode(np.array(between, dtype=np.float32)).astype(np.float32), wanted)


def test_dead_channels_and_silent_tensors_give_no_nan(trained_graph: ir.Model, digits: npt.NDArray[np.float32]) -> None:
    dead = trained_graph.clone()
    weights = dead.graph.initializers["block1.0.conv1.weight"]
    weights.const_value = ir.Tensor(np.zeros_like(constant(weights)), name=weights.name)
    table = plain_table(dead.graph)
    silent = {**table.tensors, "block1.0.conv1.relu": TensorRange(low=0.0, high=0.0, amax=0.0, clipped=0.0)}
    made = CalibrationTable(
        method="max",
        percentile=None,
        data="made up",
        data_digest="0" * 64,
        images=1,
        graph_sha256="0" * 64,
        tensors=silent,
    )
    assert np.isfinite(answers(quantize_fp8(dead, convert_fp16(dead), made), digits)).all()


def test_a_trained_network_keeps_its_answers(
    trained_graph: ir.Model, trained_half: ir.Model, digits: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    found = ranges_of(trained_graph, digits, tmp_path)
    tensors = {name: kept.whole.clipped(lambda _histogram, amax: amax) for name, kept in found.items()}
    table = CalibrationTable(
        method="max",
        percentile=None,
        data="digits",
        data_digest="0" * 64,
        images=len(digits),
        graph_sha256="0" * 64,
        tensors=tensors,
    )
    wanted = answers(trained_graph, digits)
    got = answers(quantize_fp8(trained_graph, trained_half, table), digits)
    squared = ((wanted - got) ** 2).mean()
    assert 0 < squared < 0.01 * (wanted**2).mean()
    second, first = np.sort(wanted, axis=1)[:, -2:].T
    sure = first - second > 4.0 * np.sqrt(squared)
    assert sure.mean() >= 0.6, "errors are far smaller than most differences between the classes"
    assert np.array_equal(wanted.argmax(axis=1)[sure], got.argmax(axis=1)[sure])


def test_the_originals_are_left_as_they_were_and_the_result_is_always_the_same(
    trained_graph: ir.Model, trained_half: ir.Model
) -> None:
    table = plain_table(trained_graph.graph)
    before = [ir.to_proto(model).SerializeToString(deterministic=True) for model in (trained_graph, trained_half)]
    first, second = (
        ir.to_proto(quantize_fp8(trained_graph, trained_half, table)).SerializeToString() for _ in range(2)
    )
    assert first == second
    after = [ir.to_proto(model).SerializeToString(deterministic=True) for model in (trained_graph, trained_half)]
    assert before == after


def answers(model: ir.Model, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What ONNX Runtime computes of the Q/DQ as they are written."""
    return infer_with(open_session(ir.to_proto(model).SerializeToString(), 1, fuses_qdq=False))(images)
