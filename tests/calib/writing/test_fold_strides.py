"""A Conv of stride 2 on few channels, with its stride folded into channels: the same answers, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from tests.calib.graphs import check_is_valid, constant, optimized_ops, plain_table, session_of
from tests.processor import HAS_VNNI, SATURATES
from wrn_deploy.calib.writing.fold_strides import fold_strides
from wrn_deploy.calib.writing.for_onnxruntime import quantize_for_onnxruntime

CHANNELS, OUTPUTS = 3, 16


def graph(kernel: int, pads: list[int], size: tuple[int, int], strides: int = 2, channels: int = CHANNELS) -> ir.Model:
    """images -> Q -> DQ -> Conv -> Q -> DQ -> logits, with int8 weights."""
    height, width = ((side + pads[axis] + pads[axis + 2] - kernel) // strides + 1 for axis, side in enumerate(size))
    # So small that no kernel of ONNX Runtime saturates: 2 x 255 x 64 < 2^15.
    codes = np.random.default_rng(kernel).integers(-64, 64, (OUTPUTS, channels, kernel, kernel)).astype(np.int8)
    model = ir.from_onnx_text(
        f"""
        <ir_version: 10, opset_import: ["" : 20]>
        net (float[n, {channels}, {size[0]}, {size[1]}] images) => (float[n, {OUTPUTS}, {height}, {width}] logits)
        <float step = {{0.02}}, uint8 middle = {{117}}, float unit = {{0.004}}, int8 zero = {{0}}, float far = {{0.15}},
         uint8 half = {{128}}, int8[1, 1, 1, 1] codes = {{0}}>
        {{
          small = QuantizeLinear (images, step, middle)
          data = DequantizeLinear (small, step, middle)
          weights = DequantizeLinear (codes, unit, zero)
          sums = Conv <strides = [{strides}, {strides}], pads = {pads}> (data, weights)
          narrow = QuantizeLinear (sums, far, half)
          logits = DequantizeLinear (narrow, far, half)
        }}
        """
    )
    stored = model.graph.initializers["codes"]
    stored.const_value, stored.shape = ir.Tensor(codes, name="codes"), ir.Shape(codes.shape)
    return model


@pytest.mark.parametrize(
    ("kernel", "pads", "size"),
    [
        (7, [3, 3, 3, 3], (32, 24)),
        (3, [1, 1, 1, 1], (16, 16)),
        (3, [0, 0, 1, 1], (16, 16)),
        (5, [2, 2, 2, 2], (16, 18)),
        (4, [1, 1, 1, 1], (16, 16)),
        (3, [0, 1, 2, 0], (16, 16)),
        (6, [2, 2, 2, 2], (20, 16)),
    ],
)
def test_the_same_answers_bit_for_bit(kernel: int, pads: list[int], size: tuple[int, int]) -> None:
    model = graph(kernel, pads, size)
    images = np.random.default_rng(0).normal(0.0, 1.5, (3, CHANNELS, *size)).astype(np.float32)
    wanted = session_of(model).run(None, {"images": images})[0]
    assert len(np.unique(wanted)) > 40
    folded = fold_strides(model)
    check_is_valid(folded)
    assert [node.op_type for node in folded.graph].count("SpaceToDepth") == 1
    assert constant(folded.graph.initializers["codes"]).shape[1] == 4 * CHANNELS
    np.testing.assert_array_equal(session_of(folded).run(None, {"images": images})[0], wanted)


@pytest.mark.parametrize(
    "model",
    [
        graph(3, [1, 1, 1, 1], (15, 16)),
        graph(3, [1, 1, 1, 1], (16, 16), strides=1),
        graph(3, [1, 1, 1, 1], (16, 16), channels=4),
        graph(2, [0, 0, -2, -2], (16, 16)),
    ],
    ids=["an odd size", "stride 1", "four channels", "a pair that is never read"],
)
def test_what_cannot_gain_or_be_folded_is_left_alone(model: ir.Model) -> None:
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    assert ir.to_proto(fold_strides(model)).SerializeToString(deterministic=True) == before


def test_the_first_conv_of_a_bottleneck_network_is_folded_and_in_integers(
    bottleneck_graph: ir.Model, tmp_path: Path
) -> None:
    model = quantize_for_onnxruntime(bottleneck_graph, plain_table(bottleneck_graph.graph))
    images = np.random.default_rng(0).normal(0.0, 1.0, (1, 3, 224, 224)).astype(np.float32)
    wanted = session_of(model).run(None, {"images": images})[0]
    folded = fold_strides(model)
    conv = next(node for node in folded.graph if node.name == "conv1")
    assert list(conv.attributes.get_ints("kernel_shape", [])) == [4, 4]
    ops = optimized_ops(folded, tmp_path / "optimized.onnx")
    assert (ops.count("QLinearConv"), ops.count("NhwcMaxPool"), ops.count("SpaceToDepth")) == (53, 1, 1)
    if not HAS_VNNI:
        pytest.skip(SATURATES)
    np.testing.assert_array_equal(session_of(folded).run(None, {"images": images})[0], wanted)
