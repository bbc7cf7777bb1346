"""The graph for ONNX Runtime: its types and values, what runs in integers, and BN as integer Convs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from tests.calib.graphs import (
    check_activations,
    check_is_valid,
    constant,
    optimized_ops,
    plain_table,
    producer,
    session_of,
)
from wrn_deploy.calib.collection.table import CalibrationTable, TensorRange
from wrn_deploy.calib.placement import range_source
from wrn_deploy.calib.writing.for_onnxruntime import integer_norms, quantize_for_onnxruntime

Images = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def table(trained_graph: ir.Model, digits: Images) -> CalibrationTable:
    """The ranges that the digits really have."""
    made = plain_table(trained_graph.graph)
    tensors = {}
    for name in made.tensors:
        values = digits if name == "images" else value_of(trained_graph, name, digits)
        low, high = float(values.min()), float(values.max())
        tensors[name] = TensorRange(low=low, high=high, amax=max(-low, high), clipped=0.0)
    return dataclasses.replace(made, tensors=tensors)


@pytest.fixture(scope="module")
def written(trained_graph: ir.Model, table: CalibrationTable) -> ir.Model:
    return quantize_for_onnxruntime(trained_graph, table)


def value_of(model: ir.Model, name: str, images: Images) -> Images:
    """What ONNX Runtime computes for one tensor of the graph."""
    copy = model.clone()
    copy.graph.outputs[:] = [value for node in copy.graph for value in node.outputs if value.name == name]
    found: Images = session_of(copy).run(None, {"images": images})[0]
    return found


def test_activations_are_uint8_and_biases_int32(
    trained_graph: ir.Model, table: CalibrationTable, written: ir.Model
) -> None:
    check_is_valid(written)
    quantizers = {node.name: node for node in check_activations(written, np.uint8, np.float32)}
    for name, node in quantizers.items():
        scale, zero_point = table[range_source(trained_graph.graph, (name or "").removesuffix(".q"))].asymmetric
        assert constant(node.inputs[1]) == np.float32(scale)
        assert constant(node.inputs[2]) == zero_point
    assert constant(quantizers["block2.0.add.q"].inputs[2]) > 0
    assert constant(quantizers["block1.0.conv1.relu.q"].inputs[2]) == 0, "ONNX Runtime folds the ReLU into the Conv"
    biased = [
        node for node in written.graph if node.op_type == "Conv" and len(node.inputs) > 2 and node.name != "conv1"
    ]
    assert biased
    for conv in biased:
        assert constant(producer(conv.inputs[2]).inputs[0]).dtype == np.int32


def test_the_conv_that_reads_the_images_stays_in_float_and_is_named(written: ir.Model) -> None:
    conv = next(node for node in written.graph if node.name == "conv1")
    assert conv.inputs[0] is written.graph.inputs[0]
    assert constant(conv.inputs[1]).dtype == np.float32
    assert json.loads(written.metadata_props["wrn_deploy.float_convs"]) == ["conv1"]


@pytest.mark.parametrize(
    ("name", "integer", "in_float"),
    [
        ("trained_graph", {"QLinearConv": 8 + 1, "QLinearAdd": 1}, {"Add": 2, "BatchNormalization": 3}),
        ("longer_graph", {"QLinearConv": 15 + 5, "QLinearAdd": 5}, {"Add": 1, "BatchNormalization": 1}),
        ("bottleneck_graph", {"QLinearConv": 53, "QLinearAdd": 15, "NhwcMaxPool": 1}, {"Add": 1}),
    ],
)
def test_onnxruntime_runs_convs_and_wide_norms_in_integers(
    name: str, integer: dict[str, int], in_float: dict[str, int], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(name)
    quantized = integer_norms(quantize_for_onnxruntime(model, plain_table(model.graph)))
    check_is_valid(quantized)
    ops = optimized_ops(quantized, tmp_path / "optimized.onnx")
    assert {kind: ops.count(kind) for kind in integer} == integer
    kinds = [node.op_type for node in quantized.graph]
    assert {kind: kinds.count(kind) - integer.get(f"QLinear{kind}", 0) for kind in in_float} == in_float
    assert not {"MaxPool", "ConvInteger"} & set(ops)


def test_an_integer_norm_computes_what_bn_does(written: ir.Model, digits: Images) -> None:
    """In steps of the tensor that it writes, all but some values between two steps: the bias has 127 steps for one."""
    finished = integer_norms(written.clone())
    assert "BatchNormalization" in [node.op_type for node in finished.graph], "those in float are left alone"
    name = "block3.0.bn1.relu"
    step = float(constant(next(node for node in finished.graph if node.name == f"{name}.q").inputs[1]))
    before, after = (value_of(model, f"{name}.dq", digits) / step for model in (written, finished))
    assert before.max() > 100
    assert np.abs(before - after).max() < 1.01
    assert (np.abs(before - after) > 0.5).mean() < 0.01


def test_int8_answers_as_fp32_does(trained_graph: ir.Model, written: ir.Model, digits: Images) -> None:
    finished = integer_norms(written.clone())
    wanted, found = (session_of(model).run(None, {"images": digits})[0] for model in (trained_graph, finished))
    assert (wanted.argmax(axis=1) == found.argmax(axis=1)).mean() >= 0.95
    cosine = (wanted * found).sum(axis=1) / np.linalg.norm(wanted, axis=1) / np.linalg.norm(found, axis=1)
    assert cosine.mean() > 0.995


def test_a_dead_channel_of_bn_and_one_that_turns_values_round(
    trained_graph: ir.Model, table: CalibrationTable, digits: Images
) -> None:
    """Gamma 0 leaves beta; a negative gamma is a negative weight."""
    fp32 = trained_graph.clone()
    norm = next(node for node in fp32.graph if node.name == "block3.0.bn1")
    for value, changed in zip(norm.inputs[1:3], ([0.0, 1e-9, -1.0], [0.7, 0.9, 0.1]), strict=True):
        assert value is not None
        data = constant(value).copy()
        data[:3] = changed
        value.const_value = ir.Tensor(data, name=value.name)
    wanted = value_of(fp32, "block3.0.bn1.relu", digits)
    top = float(wanted.max())
    wide = {**table.tensors, "block3.0.bn1.relu": TensorRange(low=0.0, high=top, amax=top, clipped=0.0)}
    quantized = integer_norms(quantize_for_onnxruntime(fp32, dataclasses.replace(table, tensors=wide)))
    found = value_of(quantized, "block3.0.bn1.relu.dq", digits)
    np.testing.assert_allclose(found[:, 0], 0.7, atol=top / 255)
    np.testing.assert_allclose(found[:, 1], 0.9, atol=top / 255)
    assert np.corrcoef(found[:, 2].ravel(), wanted[:, 2].ravel())[0, 1] > 0.98


@pytest.mark.parametrize("bias", [300.0, -300.0])
def test_a_bias_that_fills_its_integer_leaves_room_for_the_sum(
    trained_graph: ir.Model, table: CalibrationTable, digits: Images, bias: float
) -> None:
    """A Conv adds its products to the bias as int32, and that must not overflow."""
    fp32 = trained_graph.clone()
    conv = next(node for node in fp32.graph if node.name == "block1.0.conv1")
    for value, data in (
        (conv.inputs[1], constant(conv.inputs[1]).copy()),
        (conv.inputs[2], constant(conv.inputs[2]).copy()),
    ):
        assert value is not None
        data[0] = np.abs(data[0]) * 1e-3 if data.ndim == 4 else bias
        value.const_value = ir.Tensor(data, name=value.name)
    wide = {**table.tensors, "block1.0.conv1.relu": TensorRange(low=0.0, high=310.0, amax=310.0, clipped=0.0)}
    quantized = quantize_for_onnxruntime(fp32, dataclasses.replace(table, tensors=wide))
    found = value_of(quantized, "block1.0.conv1.relu.dq", digits)[:, 0]
    np.testing.assert_allclose(found, max(0.0, bias), atol=310 / 255)
