"""Writes Q/DQ graphs for TensorRT: symmetric int8 in the fp16 graph, or other codes, at `tensorrt_points`."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.calib.collection.table import CalibrationTable
from wrn_deploy.calib.placement import range_source, tensorrt_points
from wrn_deploy.calib.writing.qdq import (
    INT8,
    Codec,
    Scale,
    quantize_value,
    quantize_weights,
    rounded_up,
    weight_scale,
    weights_of,
    without_unused,
)

__all__ = ["FLOAT_CONVS", "quantize_for_tensorrt", "write_codes"]

FLOAT_CONVS = "wrn_deploy.float_convs"  # metadata of the model: a JSON list of the Convs that are float on purpose


def quantize_for_tensorrt(
    fp32: ir.Model,
    fp16: ir.Model,
    table: CalibrationTable,
    float_convs: Collection[str] = (),
    *,
    per_channel: bool = True,
) -> ir.Model:
    """A copy of the fp16 graph with symmetric int8 Q/DQ at `tensorrt_points`.

    Activations have one scale per tensor, Conv weights one per output channel (axis 0; without `per_channel` all of a
    Conv's channels have the same, to measure the cost of that). Weights are stored as int8 with a DQ only; biases and
    the classifier stay in fp16. Scales are fp16, as their tensors, and rounded up, so that the rounding clips nothing;
    codes are computed with the rounded scale. The Convs in `float_convs` stay in fp16; the model's metadata names them,
    since they are in float on purpose.
    """

    def scales(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        wanted = weight_scale(weights)
        return wanted if per_channel else np.full_like(wanted, wanted.max())

    return write_codes(fp32, fp16, table, codec=INT8, float_convs=float_convs, scales=scales)


def write_codes(
    fp32: ir.Model,
    fp16: ir.Model,
    table: CalibrationTable,
    *,
    codec: Codec,
    float_convs: Collection[str],
    scales: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float64]],
) -> ir.Model:
    """As `quantize_for_tensorrt`, with codes of any type around zero.

    Args:
        fp32: the graph that the table and the weights are from.
        fp16: the graph to copy.
        table: the tensors' ranges.
        codec: the codes.
        float_convs: the Convs that stay in fp16.
        scales: from a Conv's weights to their scales, one per output channel or a scalar; they are rounded up to fp16.
    """
    model = fp16.clone()
    graph = model.graph
    nodes = {node.name: node for node in graph}
    dequantized: dict[ir.Value, ir.Value] = {}
    for point in tensorrt_points(fp32.graph, float_convs):
        node = nodes[point.node]
        if node.op_type == "MaxPool" and not codec.pools:
            continue
        value = node.inputs[point.index]
        assert value is not None
        if value not in dequantized:
            found = table[range_source(fp32.graph, point.tensor)]
            scale = rounded_up(np.asarray(found.scale_to(codec.largest)), np.float16)
            dequantized[value] = quantize_value(graph, value, Scale(scale, codec.zeros()))
        node.replace_input_with(point.index, dequantized[value])
        if node.op_type == "Conv":
            weights = weights_of(fp32.graph, node.name or "")
            quantize_weights(graph, node, weights, rounded_up(scales(weights), np.float16), codec)
    if float_convs:
        model.metadata_props[FLOAT_CONVS] = json.dumps(sorted(float_convs))
    return without_unused(model)
