"""Rules 3xx: weights and biases. To add one, add a check function and its entry in RULES."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import at, axis_of, brief, dequantizer_of, scale_of
from wrn_deploy.graph import codes_type, input_of, is_fixed, name_of, shape_of, users, value_name

__all__ = ["RULES"]


def weight_axis(facts: GraphFacts) -> Iterator[Place]:
    """Convs whose weights, (out, in / groups, height, width), have scales along another axis than 0.

    TensorRT-RTX 1.7 builds a larger plan from another axis; ONNX Runtime 1.31 forms a QLinearConv, which takes the
    scales for those of the output channels whatever the axis was.
    """
    for conv in facts.convs:
        dequantizer = dequantizer_of(input_of(conv, 1))
        scale = scale_of(dequantizer) if dequantizer is not None else None
        if dequantizer is not None and scale is not None and scale.size > 1 and axis_of(dequantizer) != 0:
            yield at(conv, f"axis {axis_of(dequantizer)} in {name_of(dequantizer)}")


def tensor_weights(facts: GraphFacts) -> Iterator[Place]:
    """Convs with several output channels whose weights have one scale.

    NVIDIA, "Explicit Quantization", Q/DQ Layer-Placement Recommendations: "per-channel quantization for weights".
    Channels differ in range by orders of magnitude if BN was folded.
    """
    for conv in facts.convs:
        dequantizer, shape = dequantizer_of(input_of(conv, 1)), shape_of(conv.outputs[0])
        scale = scale_of(dequantizer) if dequantizer is not None else None
        single = shape is not None and len(shape) > 1 and shape[1] == 1
        if scale is not None and scale.size == 1 and not single:
            yield at(conv, f"one scale, {brief(scale)}")


def quantized_bias(facts: GraphFacts) -> Iterator[Place]:
    """DQ of int32: TensorRT's Conv takes a float bias.

    TensorRT-RTX 1.7: "input has type Int32 but must have type FP8, FP4, Int4, Int8, or UInt8"; onnx/onnx-tensorrt #850.
    `quantize_static` writes int32 biases.
    """
    for node in facts.dequantizers:
        if codes_type(node) is ir.DataType.INT32:
            readers = ", ".join(name_of(user) for user in users(node.outputs[0]))
            yield at(node, f"an input of {readers or 'nothing'}")


def float_weights_stored(facts: GraphFacts) -> Iterator[Place]:
    """Q of constants.

    NVIDIA, "Explicit Quantization", Quantized Weights: TensorRT takes float weights with Q and DQ, and quantized ones
    with a DQ alone. WRN-50-2: 275 MB and 3 s to build, and 69 MB and 1.4 s.
    """
    for quantizer in facts.quantizers:
        value = input_of(quantizer, 0)
        if is_fixed(value):
            yield at(quantizer, f"{value_name(value)} is stored as {facts.type_of(value)}")


RULES = (
    Rule(
        id="QDQ301", severity=Severity.ERROR, check=weight_axis,
        title="a Conv's weights have a scale for each entry of another axis than 0",
        cost="The scales cannot be taken out of the sum over the input channels: TensorRT runs the Conv in float, "
             "ONNX Runtime may compute it wrongly.",
        fix="Quantize the weights along axis 0.",
    ),
    Rule(
        id="QDQ302", severity=Severity.WARNING, check=tensor_weights,
        title="a Conv's weights have one scale for all output channels",
        cost="Accuracy: channels of small weights get few steps. It saves no time.",
        fix="Quantize the weights along axis 0.",
    ),
    Rule(
        id="QDQ303", severity=Severity.ERROR, targets=(Target.TENSORRT,), check=quantized_bias,
        title="a constant is quantized to int32",
        cost="TensorRT refuses the file.",
        fix="Leave biases in float; quantize_static: extra_options QuantizeBias=False.",
    ),
    Rule(
        id="QDQ304", severity=Severity.NOTE, check=float_weights_stored,
        title="weights are stored in float with Q and DQ",
        cost="The file is four times as large (fp16: twice), and building takes longer.",
        fix="Store int8 weights with a DQ alone.",
    ),
)  # fmt: skip
