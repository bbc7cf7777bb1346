"""Turns the BN between a DQ and a Q into an integer Conv, for ONNX Runtime; after the weights are rounded."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from wrn_deploy.calib.writing.for_onnxruntime import integer_parameters
from wrn_deploy.calib.writing.qdq import without_unused
from wrn_deploy.graph import DEQUANTIZE, QUANTIZE, activated, parameter, producer, users

__all__ = ["integer_norms"]

EPSILON = 1e-5  # ONNX's default


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
    integer_parameters(
        graph,
        conv,
        weights=multiplier.astype(np.float32).reshape(-1, 1, 1, 1),
        bias=beta - multiplier * mean,
        input_scale=parameter(dequantizer, 1).astype(np.float32),
    )
