"""Turns the BN between a DQ and a Q into an integer Conv, for ONNX Runtime; the last step, once weights are rounded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.calib.for_onnxruntime import integer_parameters
from wrn_deploy.calib.qdq import without_unused

__all__ = ["integer_norms"]

EPSILON = 1e-5  # ONNX's own, where a BN does not say


def integer_norms(model: ir.Model) -> ir.Model:
    """The model itself, in which each BN that reads a DQ and is read by a Q, behind its ReLU, is a depthwise 1x1 Conv.

    BN multiplies and adds for each channel, which is such a Conv; with one weight a channel, and a scale for each, its
    int8 weight is exact. ONNX Runtime has no integer BN: a pre-activation net is dequantized and quantized for it, and
    brought into another layout and back. This Conv stays in integers and in their layout.
    """
    graph = model.graph
    for norm in [node for node in graph if node.op_type == "BatchNormalization"]:
        source = norm.inputs[0]
        dequantizer = source.producer() if source is not None else None
        if dequantizer is None or dequantizer.op_type != "DequantizeLinear" or not _is_quantized(norm.outputs[0]):
            continue
        multiplier, addend = _affine(norm)
        conv = ir.node("Conv", [source, None, None], {"group": len(addend), "kernel_shape": [1, 1]}, name=norm.name)
        output, old = conv.outputs[0], norm.outputs[0]
        output.type, output.shape, output.name = old.type, old.shape, old.name
        graph.insert_after(norm, conv)
        for use in list(old.uses()):
            use.node.replace_input_with(use.idx, output)
        graph.remove(norm, safe=True)
        weights = multiplier.astype(np.float32).reshape(-1, 1, 1, 1)
        integer_parameters(graph, conv, (weights, addend), _constant(dequantizer.inputs[1]).astype(np.float32))
    return without_unused(model)


def _is_quantized(value: ir.Value) -> bool:
    users = [use.node for use in value.uses()]
    if len(users) == 1 and users[0].op_type == "Relu":
        users = [use.node for use in users[0].outputs[0].uses()]
    return bool(users) and all(user.op_type == "QuantizeLinear" for user in users)


def _affine(norm: ir.Node) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What a BN multiplies by and then adds, (C,) each."""
    gamma, beta, mean, variance = (_constant(value).astype(np.float64) for value in norm.inputs[1:5])
    multiplier = gamma / np.sqrt(variance + norm.attributes.get_float("epsilon", EPSILON))
    return multiplier, beta - multiplier * mean


def _constant(value: ir.Value | None) -> npt.NDArray[np.generic]:
    assert value is not None
    assert value.const_value is not None
    return value.const_value.numpy()
