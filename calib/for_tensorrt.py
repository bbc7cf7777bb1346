"""Writes the Q/DQ graph for TensorRT: symmetric int8 in the fp16 graph, at `tensorrt_points`."""

from __future__ import annotations

import json
from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from wrn_deploy.calib.placement import range_source, tensorrt_points
from wrn_deploy.calib.qdq import (
    Scale,
    quantize_value,
    quantize_weights,
    rounded_up,
    weight_scale,
    weights_of,
    without_unused,
)
from wrn_deploy.calib.table import CalibrationTable

__all__ = ["FLOAT_CONVS", "quantize_for_tensorrt"]

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

    Activations have one scale a tensor, Conv weights one an output channel (axis 0; with `per_channel` off, the same
    for all of a Conv's channels, which serves to measure what that costs); weights are stored as int8 with a
    DQ alone; biases and the classifier stay in fp16. Scales are fp16, as the tensors they belong to, and rounded up,
    so that the rounding clips nothing; the weights' codes are computed with the scale as rounded. The Convs in
    `float_convs` stay in fp16; their names are written into the model, so that they are known to be so on purpose.
    """
    model = fp16.clone()
    graph = model.graph
    nodes = {node.name: node for node in graph}
    dequantized: dict[ir.Value, ir.Value] = {}
    for point in tensorrt_points(fp32.graph, float_convs):
        node = nodes[point.node]
        value = node.inputs[point.index]
        assert value is not None
        if value not in dequantized:
            found = table[range_source(fp32.graph, point.tensor)]
            scale = rounded_up(np.asarray(found.symmetric_scale), np.float16)
            dequantized[value] = quantize_value(graph, value, Scale(scale, np.asarray(np.int8(0))))
        node.replace_input_with(point.index, dequantized[value])
        if node.op_type == "Conv":
            weights = weights_of(fp32.graph, node.name or "")
            wanted = weight_scale(weights)
            steps = wanted if per_channel else np.full_like(wanted, wanted.max())
            quantize_weights(graph, node, weights, rounded_up(steps, np.float16))
    if float_convs:
        model.metadata_props[FLOAT_CONVS] = json.dumps(sorted(float_convs))
    return without_unused(model)
