"""Turns the BN between a DQ and a Q into an integer Conv, for ONNX Runtime; done last, once weights are rounded."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from wrn_deploy.calib.writing.for_onnxruntime import integer_parameters
from wrn_deploy.calib.writing.qdq import without_unused
from wrn_deploy.graph import DEQUANTIZE, QUANTIZE, activated, parameter, producer, users

__all__ = ["integer_norms"]

EPSILON = 1e-5  # ONNX's own, where a BN does not say


def integer_norms(model: ir.Model) -> ir.Model:
    """The model itself, in which each BN that reads a DQ and is read by a Q, behind its ReLU, is a depthwise 1x1 Conv.

    BN multiplies and adds for each channel, which is such a Conv; with one weight a channel, and a scale for each, its
    int8 weight is exact. ONNX Runtime has no integer BN: a pre-activation net is dequantized and quantized for it, and
    brought into another layout and back. This Conv stays in integers and in their layout.
    """
    graph = model.graph
    for node in [node for node in graph if node.op_type == "BatchNormalization"]:
        dequantizer, readers = producer(node.inputs[0], DEQUANTIZE), users(activated(node.outputs[0]))
        if dequantizer is not None and readers and all(reader.op_type == QUANTIZE for reader in readers):
            _to_conv(graph, node, dequantizer)
    return without_unused(model)


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
    parameters = (multiplier.astype(np.float32).reshape(-1, 1, 1, 1), beta - multiplier * mean)
    integer_parameters(graph, conv, parameters, parameter(dequantizer, 1).astype(np.float32))
