"""Writes the Q/DQ graph for ONNX Runtime on a CPU: uint8 activations in the fp32 graph, at `onnxruntime_values`."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from wrn_deploy.calib.placement import onnxruntime_values, range_source
from wrn_deploy.calib.qdq import (
    INT32,
    Scale,
    bias_of,
    quantize_bias,
    quantize_value,
    quantize_weights,
    rounded_up,
    weight_scale,
    weights_of,
    without_unused,
)
from wrn_deploy.calib.table import CalibrationTable

__all__ = ["quantize_for_onnxruntime"]


def quantize_for_onnxruntime(fp32: ir.Model, table: CalibrationTable) -> ir.Model:
    """A copy of the fp32 graph with uint8 Q/DQ at `onnxruntime_values`, which its CPU provider fuses into QLinearConv.

    Activations are asymmetric uint8, Conv weights symmetric int8 a channel, biases int32: on CPUs with VNNI its kernels
    for uint8 activations are some ten times faster than those for int8.
    """
    model = fp32.clone()
    graph = model.graph
    scales: dict[str, Scale] = {}
    for name in onnxruntime_values(graph):
        scale, zero_point = table[range_source(fp32.graph, name)].asymmetric
        scales[name] = Scale(np.asarray(np.float32(scale)), np.asarray(np.uint8(zero_point)))
    for node in [node for node in graph if node.op_type == "Conv"]:
        source, weights, bias = node.inputs[0], weights_of(fp32.graph, node), bias_of(node)
        assert source is not None
        unit = scales[source.name or ""].scale
        # A channel whose weights are nearly zero may have a large bias: it too must fit into its integer.
        steps = rounded_up(np.maximum(weight_scale(weights), np.abs(bias) / (INT32 * unit)), np.float32)
        quantize_weights(graph, node, weights, steps)
        if len(node.inputs) > 2:
            quantize_bias(graph, node, bias, unit * steps)
    values = {value.name: value for value in (*graph.inputs, *(value for node in graph for value in node.outputs))}
    for name, found in scales.items():
        value = values[name]
        users = list(value.uses())
        dequantized = quantize_value(graph, value, found)
        for use in users:
            use.node.replace_input_with(use.idx, dequantized)
    return without_unused(model)
