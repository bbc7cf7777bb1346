"""Writes Q/DQ graphs for TensorRT: symmetric int8 in the fp16 graph, or fp8 (experimental), at `tensorrt_points`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Iterable

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.calib.collection.table import CalibrationTable
from wrn_deploy.calib.placement import Point, conv_depths, range_source, tensorrt_points
from wrn_deploy.calib.writing import qdq
from wrn_deploy.calib.writing.qdq import FP8, INT8, Codec, Scale, rounded_up, weight_scale

__all__ = ["FLOAT_CONVS", "first_convs", "quantize_for_tensorrt", "quantize_fp8"]

FLOAT_CONVS = "wrn_deploy.float_convs"  # metadata of the model: a JSON list of the Convs that are float on purpose


def quantize_for_tensorrt(
    fp32: ir.Model,
    fp16: ir.Model,
    table: CalibrationTable,
    float_convs: Collection[str] = (),
    *,
    per_channel: bool = True,
    whole: ir.Graph | None = None,
) -> ir.Model:
    """Returns a copy of the fp16 graph with symmetric int8 Q/DQ at `tensorrt_points`.

    Activations have one scale per tensor, Conv weights one per output channel (axis 0; without `per_channel` all of a
    Conv's channels have the same, to measure the cost of that). Weights are stored as int8 with a DQ only; biases and
    the classifier stay in fp16. Scales are fp16, as their tensors, and rounded up, so that the rounding clips nothing;
    codes are computed with the rounded scale. The Convs in `float_convs` stay in fp16; the model's metadata names them,
    since they are in float on purpose. If the fp32 graph is a part of another one, `whole` is that: what follows a
    tensor decides where it is quantized.
    """

    def scales(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        wanted = weight_scale(weights)
        return wanted if per_channel else np.full_like(wanted, wanted.max())

    points = tensorrt_points(whole or fp32.graph, float_convs)
    return _write_codes(fp32, fp16, table, codec=INT8, points=points, float_convs=float_convs, scales=scales)


def quantize_fp8(fp32: ir.Model, fp16: ir.Model, table: CalibrationTable) -> ir.Model:
    """Returns a copy of the fp16 graph with float8e4m3fn Q/DQ, but for MaxPools and the first Convs.

    A tensor's largest magnitude becomes 448, the largest number of float8e4m3fn (Micikevicius et al., "FP8 formats for
    deep learning", arXiv:2209.05433). The relative precision of the codes is the same everywhere. So clipping gains
    nothing, and the method's threshold is not used; and a Conv's weights have one scale, with which TensorRT-RTX 1.7
    makes the Conv's output fp16 (with one per channel it makes it fp32, and rescales it in another kernel).

    Weights are stored as codes with a DQ only; biases and the classifier stay in fp16, and so do the first Convs: of
    the 256 levels of a pixel, 3 bits of mantissa keep few (int8 has a code for each, see `exact_input.py`).
    """
    whole = {
        name: dataclasses.replace(found, amax=max(abs(found.low), abs(found.high)), clipped=0.0)
        for name, found in table.tensors.items()
    }

    def scales(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        return np.asarray(weight_scale(weights, FP8).max())

    unclipped = dataclasses.replace(table, tensors=whole)
    first = first_convs(fp32.graph)
    points = tensorrt_points(fp32.graph, first)
    return _write_codes(fp32, fp16, unclipped, codec=FP8, points=points, float_convs=first, scales=scales)


def first_convs(graph: ir.Graph) -> list[str]:
    """The Convs without another Conv before them: they read the images."""
    depths = conv_depths(graph)
    return [node.name or "" for node in graph if node.op_type == "Conv" and depths[node.outputs[0]] == 1]


def _write_codes(
    fp32: ir.Model,
    fp16: ir.Model,
    table: CalibrationTable,
    *,
    codec: Codec,
    points: Iterable[Point],
    float_convs: Collection[str],
    scales: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float64]],
) -> ir.Model:
    """Returns a copy of `fp16` with codes of any type around zero; the table and the weights are those of `fp32`.

    Points at nodes that the graph does not have are passed over. `scales` gives the scales of a Conv's weights, one per
    output channel or a scalar; they are rounded up to fp16.
    """
    model = fp16.clone()
    graph = model.graph
    nodes = {node.name: node for node in graph}
    dequantized: dict[ir.Value, ir.Value] = {}
    for point in points:
        node = nodes.get(point.node)
        if node is None or (node.op_type == "MaxPool" and not codec.pools):
            continue
        value = node.inputs[point.index]
        assert value is not None
        if value not in dequantized:
            found = table[range_source(fp32.graph, point.tensor)]
            scale = rounded_up(np.asarray(found.scale_to(codec.largest)), np.float16)
            dequantized[value] = qdq.quantize_value(graph, value, Scale(scale, codec.zeros()))
        node.replace_input_with(point.index, dequantized[value])
        if node.op_type == "Conv":
            weights = qdq.weights_of(fp32.graph, node.name or "")
            qdq.quantize_weights(graph, node, weights, rounded_up(scales(weights), np.float16), codec)
    if float_convs:
        model.metadata_props[FLOAT_CONVS] = json.dumps(sorted(float_convs))
    return qdq.without_unused(model)
