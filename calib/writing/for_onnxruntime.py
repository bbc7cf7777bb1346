"""Writes the Q/DQ graph for ONNX Runtime on a CPU: uint8 activations in the fp32 graph, at `onnxruntime_values`."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.calib.collection.table import CalibrationTable
from wrn_deploy.calib.placement import onnxruntime_float_convs, onnxruntime_values, range_source
from wrn_deploy.calib.writing import qdq
from wrn_deploy.calib.writing.for_tensorrt import FLOAT_CONVS
from wrn_deploy.graph import (
    DEQUANTIZE,
    QUANTIZE,
    activated,
    input_of,
    parameter,
    producer,
    users,
    value_name,
    values_of,
)

__all__ = ["LARGEST_BIAS", "integer_norms", "quantize_for_onnxruntime"]

LARGEST_BIAS = qdq.INT32 / 2  # in steps: the other half of int32 is for the sums that the Conv adds to its bias
EPSILON = 1e-5  # ONNX's default for BN


def quantize_for_onnxruntime(fp32: ir.Model, table: CalibrationTable) -> ir.Model:
    """Returns a copy of the fp32 graph with uint8 Q/DQ, which the CPU provider fuses into QLinearConv.

    Activations are asymmetric uint8, Conv weights symmetric int8 per channel, biases int32: on CPUs with VNNI the
    kernels for uint8 activations are about ten times faster than those for int8. The metadata `wrn_deploy.float_convs`
    names the Convs that stay in float, for speed.
    """
    model = fp32.clone()
    graph = model.graph
    float_convs = onnxruntime_float_convs(graph)
    scales: dict[str, qdq.Scale] = {}
    for name in onnxruntime_values(graph):
        scale, zero_point = table[range_source(fp32.graph, name)].asymmetric
        scales[name] = qdq.Scale(np.asarray(np.float32(scale)), np.asarray(np.uint8(zero_point)))
    for node in [node for node in graph if node.op_type == "Conv" and node.name not in float_convs]:
        weights = qdq.weights_of(fp32.graph, node.name or "")
        bias = parameter(node, 2) if input_of(node, 2) is not None else None
        _store_integers(graph, node, weights, bias, scales[value_name(node.inputs[0])].scale)
    values = values_of(graph)
    for name, found in scales.items():
        uses = list(values[name].uses())
        dequantized = qdq.quantize_value(graph, values[name], found)
        for use in uses:
            use.node.replace_input_with(use.idx, dequantized)
    if float_convs:
        model.metadata_props[FLOAT_CONVS] = json.dumps(sorted(float_convs))
    return qdq.without_unused(model)


def integer_norms(model: ir.Model) -> ir.Model:
    """Changes the graph in place, and returns it: a BN between a DQ and a Q (a ReLU may follow) becomes a 1x1 Conv.

    gamma (x - mean) / s + beta = m x + (beta - m mean), m = gamma / s, s = sqrt(variance + epsilon): a depthwise Conv
    with one weight m per channel. Each weight has a scale of its own, |m| / 127, so that its code is 127 or -127 and
    exact (but for a bias so large that it needs a larger scale). ONNX Runtime has no integer BN: for each it would
    dequantize, change the layout, quantize and change the layout back. This comes after the rounding, which expects the
    Convs of the fp32 graph.
    """
    graph = model.graph
    for node in [node for node in graph if node.op_type == "BatchNormalization"]:
        dequantizer, readers = producer(node.inputs[0], DEQUANTIZE), users(activated(node.outputs[0]))
        if dequantizer is not None and readers and all(reader.op_type == QUANTIZE for reader in readers):
            _to_conv(graph, node, dequantizer)
    return qdq.without_unused(model)


def _to_conv(graph: ir.Graph, norm: ir.Node, dequantizer: ir.Node) -> None:
    source, old = norm.inputs[0], norm.outputs[0]
    gamma, beta, mean, variance = (parameter(norm, index) for index in range(1, 5))
    multiplier = gamma / np.sqrt(variance + norm.attributes.get_float("epsilon", EPSILON))
    conv = ir.node("Conv", [source, None, None], {"group": len(gamma), "kernel_shape": [1, 1]}, name=norm.name)
    new = conv.outputs[0]
    new.type, new.shape, new.name = old.type, old.shape, old.name
    graph.insert_after(norm, conv)
    for use in list(old.uses()):
        use.node.replace_input_with(use.idx, new)
    graph.remove(norm, safe=True)
    weights = multiplier.astype(np.float32).reshape(-1, 1, 1, 1)
    _store_integers(graph, conv, weights, beta - multiplier * mean, parameter(dequantizer, 1).astype(np.float32))


def _store_integers(
    graph: ir.Graph, conv: ir.Node, weights: npt.NDArray[np.float32], bias: qdq.Floats | None, input_scale: qdq.Floats
) -> None:
    """Replaces a Conv's weights (O, I, kh, kw) by int8 and a DQ, and its bias (O,), if any, by int32 and a DQ."""
    wanted = qdq.weight_scale(weights)
    if bias is not None:
        # A channel of tiny weights may have a large bias, which must fit into int32 in steps of both scales.
        wanted = np.maximum(wanted, np.abs(bias) / (LARGEST_BIAS * input_scale))
    steps = qdq.rounded_up(wanted, np.float32)
    qdq.quantize_weights(graph, conv, weights, steps)
    if bias is not None:
        qdq.quantize_bias(graph, conv, bias, input_scale * steps)
