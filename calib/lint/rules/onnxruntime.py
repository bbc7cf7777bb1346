"""Rules 5xx: ONNX Runtime's CPU provider. To add one, add a check and its entry in RULES."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import at, between_dq_and, is_dequantized, is_int8, typed_name
from wrn_deploy.graph import (
    DEQUANTIZE,
    PASSING,
    QUANTIZE,
    activated,
    codes_type,
    constant,
    dequantizer_of,
    input_of,
    name_of,
    users,
    value_name,
)

__all__ = ["RULES"]


def signed_activations(facts: GraphFacts) -> Iterator[Place]:
    """The graph, with the number of its int8 activations: the CPU kernels are made for uint8.

    Measured on a CPU with AVX512-VNNI: 848 GOP/s with uint8 activations and int8 weights, 70 GOP/s with int8 for both;
    a WRN-50-2 took 50.8 and 88 ms.
    """
    quantizers = facts.activation_quantizers
    signed = [node for node in quantizers if codes_type(node) is ir.DataType.INT8]
    if signed:
        yield Place("", f"{len(signed)} of {len(quantizers)}, as {name_of(signed[0])}")


def float_output(facts: GraphFacts) -> Iterator[Place]:
    """Int8 Convs whose output, or that of their ReLU, is read in float.

    ONNX Runtime fuses DQ, Conv, ReLU and Q to one QLinearConv, and only if all users of the output are Q
    (qdq_selectors.cc: ConvNodeGroupSelector).
    """
    for conv in facts.int8_convs:
        value = activated(conv.outputs[0])
        readers = [typed_name(node) for node in users(value) if node.op_type != QUANTIZE]
        if readers or not users(value):
            yield at(conv, f"{value_name(value)} is read by {', '.join(readers) or 'the output'}")


def float_bias(facts: GraphFacts) -> Iterator[Place]:
    """Int8 Convs whose bias is not int32.

    QLinearConv adds an int32 bias in steps of data scale x weight scale (onnx.ai, QLinearConv). From 1.21 on ONNX
    Runtime quantizes a float bias by itself (microsoft/onnxruntime #22969).
    """
    for conv in facts.int8_convs:
        bias = input_of(conv, 2)
        dequantizer = dequantizer_of(bias)
        if bias is not None and (dequantizer is None or codes_type(dequantizer) is not ir.DataType.INT32):
            yield at(conv, f"{value_name(bias)} is {bias.dtype}")


def float_sum(facts: GraphFacts) -> Iterator[Place]:
    """Sums with a ReLU and an int8 Conv behind them, and a float input or output.

    ONNX Runtime forms QLinearAdd from DQ, DQ, Add (ReLU) and Q. If BN follows a sum, as in pre-activation networks,
    float is the better choice: BN is computed in float anyway.
    """
    for add in facts.sums:
        value = activated(add.outputs[0])
        readers = users(value)
        convs = [node for reader in readers for node in _behind(reader) if node.op_type == "Conv" and is_int8(node)]
        if not convs or value is add.outputs[0]:
            continue
        tensors = [value_name(before) for before in add.inputs if not is_dequantized(before)]
        tensors += [value_name(value)] if any(reader.op_type != QUANTIZE for reader in readers) else []
        if tensors:
            yield at(add, f"{', '.join(tensors)} in float")


def _behind(reader: ir.Node) -> list[ir.Node]:
    """The node itself, or the users behind its Q and DQ."""
    if reader.op_type not in (QUANTIZE, DEQUANTIZE):
        return [reader]
    return [node for user in users(reader.outputs[0]) for node in _behind(user)]


def full_range_weights(facts: GraphFacts) -> Iterator[Place]:
    """The graph, with the first Conv whose weights leave -64..63 while its data is uint8.

    ONNX Runtime, "Quantize ONNX models": VPMADDUBSW adds two products in 16 bits, which may saturate; "reduce_range"
    (weights of 7 bits) or uint8 weights avoid that, and CPUs with VNNI and Arm CPUs do not have the problem.
    """
    for conv in facts.int8_convs:
        data, weights = dequantizer_of(input_of(conv, 0)), dequantizer_of(input_of(conv, 1))
        codes = constant(input_of(weights, 0))
        if data is None or codes is None or codes.dtype != np.int8 or codes_type(data) is not ir.DataType.UINT8:
            continue
        if codes.min() < -64 or codes.max() > 63:
            yield Place("", f"{codes.min()}..{codes.max()} in {name_of(conv)}, for example")
            return


def reshaped_weights(facts: GraphFacts) -> Iterator[Place]:
    """Int8 Convs with nodes between the weights' DQ and the Conv.

    ONNX Runtime 1.31 moves a Transpose to the other side of a DQ with a zero point, and removes Identity and Dropout.
    It leaves Reshape, Squeeze, Unsqueeze, Flatten and Slice between DQ and Conv: no QLinearConv is formed.
    """
    for conv in facts.int8_convs:
        weights = input_of(conv, 1)
        has_zero_point = input_of(dequantizer_of(weights), 2) is not None
        fine = ("Cast", *PASSING, *(["Transpose"] if has_zero_point else []))
        between = [typed_name(node) for node in between_dq_and(weights) if node.op_type not in fine]
        if between:
            yield at(conv, f"{', '.join(between)} on {value_name(weights)}")


RULES = (
    Rule(id="QDQ501", severity=Severity.WARNING, targets=(Target.ONNXRUNTIME,), check=signed_activations,
         title="activations are int8, not uint8",
         cost="On x86-64 CPUs the kernels are up to ten times slower.",
         fix="Quantize activations to uint8; quantize_static: activation_type=QuantType.QUInt8."),
    Rule(id="QDQ502", severity=Severity.WARNING, targets=(Target.ONNXRUNTIME,), check=float_output,
         title="the output of a quantized Conv is not quantized",
         cost="No QLinearConv is formed: the Conv runs in float, with a DQ before it.",
         fix="Quantize the output of the Conv, after its ReLU, for all of its users."),
    Rule(id="QDQ503", severity=Severity.NOTE, targets=(Target.ONNXRUNTIME,), check=float_bias,
         title="the bias of a quantized Conv is not int32",
         cost="Before ONNX Runtime 1.21 no QLinearConv is formed: the Conv runs in float.",
         fix="Store the bias as int32 with a DQ, in steps of data scale x weight scale."),
    Rule(id="QDQ504", severity=Severity.WARNING, targets=(Target.ONNXRUNTIME,), check=float_sum,
         title="a residual sum before a Conv is computed in float",
         cost="Its inputs are converted to float and back.",
         fix="Quantize both inputs of the sum and its output, after the ReLU."),
    Rule(id="QDQ505", severity=Severity.NOTE, targets=(Target.ONNXRUNTIME,), check=full_range_weights,
         title="int8 weights use more than 7 bits with uint8 activations",
         cost="On x86-64 CPUs without VNNI sums of two products saturate, which costs accuracy.",
         fix="None on CPUs with VNNI or on Arm; else use 7-bit weights (quantize_static: reduce_range=True)."),
    Rule(id="QDQ506", severity=Severity.ERROR, targets=(Target.ONNXRUNTIME,), check=reshaped_weights,
         title="a Conv's weights are rearranged after their DQ",
         cost="No QLinearConv is formed: the Conv runs in float.",
         fix="Store the codes in the Conv's own shape, with the DQ directly before it."),
)  # fmt: skip
