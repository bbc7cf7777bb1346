"""Writes the Q/DQ graph for ONNX Runtime on a CPU: uint8 activations in the fp32 graph, at `onnxruntime_values`."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.calib.collection.table import CalibrationTable
from wrn_deploy.calib.placement import onnxruntime_float_convs, onnxruntime_values, range_source
from wrn_deploy.calib.writing.for_tensorrt import FLOAT_CONVS
from wrn_deploy.calib.writing.qdq import (
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

__all__ = ["integer_parameters", "quantize_for_onnxruntime"]

Weights = npt.NDArray[np.float32]

LARGEST_BIAS = INT32 / 2  # in steps: the other half of int32 is for the sums that the Conv adds to its bias


def quantize_for_onnxruntime(fp32: ir.Model, table: CalibrationTable) -> ir.Model:
    """A copy of the fp32 graph with uint8 Q/DQ at `onnxruntime_values`, which its CPU provider fuses into QLinearConv.

    Activations are asymmetric uint8, Conv weights symmetric int8 per channel, biases int32: on CPUs with VNNI the
    kernels for uint8 activations are about ten times faster than those for int8. The metadata `wrn_deploy.float_convs`
    names the Convs that stay in float, for speed.
    """
    model = fp32.clone()
    graph = model.graph
    float_convs = onnxruntime_float_convs(graph)
    scales: dict[str, Scale] = {}
    for name in onnxruntime_values(graph):
        scale, zero_point = table[range_source(fp32.graph, name)].asymmetric
        scales[name] = Scale(np.asarray(np.float32(scale)), np.asarray(np.uint8(zero_point)))
    for node in [node for node in graph if node.op_type == "Conv" and node.name not in float_convs]:
        source = node.inputs[0]
        assert source is not None
        bias = bias_of(node) if len(node.inputs) > 2 else None
        integer_parameters(
            graph,
            node,
            weights=weights_of(fp32.graph, node.name or ""),
            bias=bias,
            input_scale=scales[source.name or ""].scale,
        )
    values = {value.name: value for value in (*graph.inputs, *(value for node in graph for value in node.outputs))}
    for name, found in scales.items():
        value = values[name]
        users = list(value.uses())
        dequantized = quantize_value(graph, value, found)
        for use in users:
            use.node.replace_input_with(use.idx, dequantized)
    if float_convs:
        model.metadata_props[FLOAT_CONVS] = json.dumps(sorted(float_convs))
    return without_unused(model)


def integer_parameters(
    graph: ir.Graph,
    conv: ir.Node,
    *,
    weights: Weights,
    bias: npt.NDArray[np.float64] | None,
    input_scale: npt.NDArray[np.floating],
) -> None:
    """Replaces a Conv's weights by int8 and a DQ, and its bias, if it has one, by int32 and a DQ.

    Args:
        graph: the graph of the Conv.
        conv: the Conv, whose inputs are replaced.
        weights: (O, I, kh, kw).
        bias: (O,), or None.
        input_scale: the scale of the Conv's input.
    """
    wanted = weight_scale(weights)
    if bias is not None:
        # A channel of tiny weights may have a large bias, which must fit into int32 in steps of both scales.
        wanted = np.maximum(wanted, np.abs(bias) / (LARGEST_BIAS * input_scale))
    steps = rounded_up(wanted, np.float32)
    quantize_weights(graph, conv, weights, steps)
    if bias is not None:
        quantize_bias(graph, conv, bias, input_scale * steps)
