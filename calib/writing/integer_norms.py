"""Turns the BN between a DQ and a Q into an integer Conv, for ONNX Runtime; after the weights are rounded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.calib.writing.for_onnxruntime import integer_parameters
from wrn_deploy.calib.writing.qdq import without_unused

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
        if _dequantizer(node) is not None and _is_quantized(node.outputs[0]):
            _to_conv(graph, node)
    return without_unused(model)


def _to_conv(graph: ir.Graph, norm: ir.Node) -> None:
    source, old = norm.inputs[0], norm.outputs[0]
    dequantizer = _dequantizer(norm)
    assert dequantizer is not None
    gamma, beta, mean, variance = (_constant(value).astype(np.float64) for value in norm.inputs[1:5])
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
        input_scale=_constant(dequantizer.inputs[1]).astype(np.float32),
    )


def _dequantizer(norm: ir.Node) -> ir.Node | None:
    value = norm.inputs[0]
    producer = value.producer() if value is not None else None
    return producer if producer is not None and producer.op_type == "DequantizeLinear" else None


def _is_quantized(value: ir.Value) -> bool:
    users = [use.node for use in value.uses()]
    if len(users) == 1 and users[0].op_type == "Relu":
        users = [use.node for use in users[0].outputs[0].uses()]
    return bool(users) and all(user.op_type == "QuantizeLinear" for user in users)


def _constant(value: ir.Value | None) -> npt.NDArray[np.generic]:
    assert value is not None
    assert value.const_value is not None
    return value.const_value.numpy()
