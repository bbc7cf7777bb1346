"""Rules 110 to 112, 114 and 3xx: what a Conv reads. To add one, add a check and its entry in RULES.

"NVIDIA" stands for TensorRT's documentation, "Explicit Quantization", Q/DQ Layer-Placement Recommendations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx_ir as ir

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import (
    NO_AXIS,
    at,
    brief,
    quantized_data,
    quantized_weights,
    scale_axis,
    scale_of,
    typed_name,
)
from wrn_deploy.graph import (
    QUANTIZE,
    codes_type,
    dequantizer_of,
    input_of,
    is_fixed,
    is_stored,
    name_of,
    producer,
    shape_of,
    type_of,
    users,
    value_name,
)

__all__ = ["RULES"]

CODES = (ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT4, ir.DataType.UINT4, ir.DataType.FLOAT8E4M3FN)


def float_conv(facts: GraphFacts) -> Iterable[Place]:
    """Convs without any Q/DQ in a quantized graph, with their part of the work.

    NVIDIA: "Quantize all inputs of weighted operations (Convolution, Transposed Convolution, and GEMM)".
    """
    return [_with_macs(facts, conv) for conv in facts.float_convs if not facts.is_kept_float(conv)]


def kept_float_conv(facts: GraphFacts) -> Iterable[Place]:
    """Convs without any Q/DQ that the graph's metadata names as float on purpose, with their part of the work.

    The key is `wrn_deploy.float_convs`: a JSON list of names of Conv nodes.
    """
    return [_with_macs(facts, conv) for conv in facts.float_convs if facts.is_kept_float(conv)]


def _with_macs(facts: GraphFacts, conv: ir.Node) -> Place:
    fraction = facts.macs_fraction([conv])
    return at(conv, f"{100 * fraction:.1f} % of the Convs' MACs" if fraction is not None else "")


def float_weights(facts: GraphFacts) -> Iterable[Place]:
    """Convs of which only the data is quantized.

    NVIDIA: "Quantize all inputs of weighted operations". ONNX Runtime from 1.21 on quantizes such weights by itself
    (microsoft/onnxruntime #22969).
    """
    convs = [conv for conv in facts.convs if quantized_data(conv) and not quantized_weights(conv)]
    return [at(conv, f"{value_name(input_of(conv, 1))} is float") for conv in convs]


def float_data(facts: GraphFacts) -> Iterator[Place]:
    """Convs of which only the weights are quantized; an operator between a DQ and the Conv makes its data float again.

    NVIDIA: "Quantize all inputs of weighted operations". ONNX Runtime forms QLinearConv under the same condition.
    """
    for conv in facts.convs:
        if quantized_weights(conv) and not quantized_data(conv):
            made = producer(input_of(conv, 0))
            by = f", made by {typed_name(made)}" if made is not None else ""
            yield at(conv, f"{value_name(input_of(conv, 0))} is float{by}")


def weight_axis(facts: GraphFacts) -> Iterator[Place]:
    """Convs whose weights, (out, in / groups, height, width), have scales along another axis than 0.

    Where the DQ stands before a Transpose or a Reshape, the axis is that of the weights behind it.
    TensorRT-RTX 1.7 builds a larger plan from another axis; ONNX Runtime 1.31 forms a QLinearConv, which takes the
    scales for those of the output channels whatever the axis was.
    """
    for conv in facts.convs:
        dequantizer, axis = dequantizer_of(input_of(conv, 1)), scale_axis(input_of(conv, 1))
        scale = scale_of(dequantizer)
        if dequantizer is not None and scale is not None and scale.size > 1 and axis not in (0, None):
            where = "no axis of the weights" if axis == NO_AXIS else f"axis {axis}"
            yield at(conv, f"{where} in {name_of(dequantizer)}")


def tensor_weights(facts: GraphFacts) -> Iterator[Place]:
    """Convs with several output channels whose weights have one scale.

    NVIDIA: "per-channel quantization for weights".
    Channels differ in range by orders of magnitude if BN was folded.
    """
    for conv in facts.convs:
        scale, shape = scale_of(dequantizer_of(input_of(conv, 1))), shape_of(conv.outputs[0])
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


def moved_codes(facts: GraphFacts) -> Iterator[Place]:
    """Stored codes that another node reads before their DQ.

    TensorRT-RTX 1.7 refuses Identity, Reshape, Transpose, Squeeze, Flatten, Concat and Slice of them: "Quantized
    constant is only allowed before DQ". It takes Dropout, and codes that a Cast makes of floats.
    """
    for dequantizer in facts.dequantizers:
        waiting, seen = [input_of(dequantizer, 0)], set[ir.Node]()
        while waiting and is_fixed(input_of(dequantizer, 0)):
            node = producer(waiting.pop())
            if node is None or node in seen or node.op_type in (QUANTIZE, "Constant"):
                continue
            seen.add(node)
            waiting += node.inputs
            codes = [value for value in node.inputs if type_of(value) in CODES and is_stored(value)]
            if codes and node.op_type not in ("Cast", "Dropout"):
                yield at(dequantizer, f"{typed_name(node)} is between {value_name(codes[0])} and it")


RULES = (
    Rule(id="QDQ110", severity=Severity.WARNING, check=float_conv,
         title="a Conv is left in float",
         cost="It runs at half the speed of int8 or less, and its neighbours convert between int8 and float.",
         fix="Put Q/DQ on its data and its weights; or, if it is float for accuracy, leave it."),
    Rule(id="QDQ111", severity=Severity.NOTE, check=kept_float_conv,
         title="a Conv is in float on purpose",
         cost="It runs at half the speed of int8 or less, and its neighbours convert between int8 and float.",
         fix="Nothing to fix: it was chosen for accuracy or speed."),
    Rule(id="QDQ112", severity=Severity.ERROR, targets=(Target.TENSORRT,), check=float_weights,
         title="a Conv has quantized data and float weights",
         cost="It runs in float: the Q/DQ on its data cost time and accuracy and give nothing.",
         fix="Quantize the weights too, along axis 0, or remove the Q/DQ."),
    Rule(id="QDQ114", severity=Severity.ERROR, check=float_data,
         title="a Conv has quantized weights and float data",
         cost="It runs in float: the quantized weights cost accuracy and give no speed.",
         fix="Put Q/DQ directly on its data, or leave its weights in float."),
    Rule(id="QDQ301", severity=Severity.ERROR, check=weight_axis,
         title="a Conv's weights have a scale for each entry of another axis than 0",
         cost="The scales cannot be taken out of the sum over the input channels: TensorRT runs the Conv in float, "
              "ONNX Runtime may compute it wrongly.",
         fix="Quantize the weights along axis 0."),
    Rule(id="QDQ302", severity=Severity.WARNING, check=tensor_weights,
         title="a Conv's weights have one scale for all output channels",
         cost="Accuracy: channels of small weights get few steps. It saves no time.",
         fix="Quantize the weights along axis 0."),
    Rule(id="QDQ303", severity=Severity.ERROR, targets=(Target.TENSORRT,), check=quantized_bias,
         title="a constant is quantized to int32",
         cost="TensorRT refuses the file.",
         fix="Leave biases in float; quantize_static: extra_options QuantizeBias=False."),
    Rule(id="QDQ304", severity=Severity.NOTE, check=float_weights_stored,
         title="weights are stored in float with Q and DQ",
         cost="The file is four times as large (fp16: twice), and building takes longer.",
         fix="Store int8 weights with a DQ alone."),
    Rule(id="QDQ305", severity=Severity.ERROR, targets=(Target.TENSORRT,), check=moved_codes,
         title="stored codes pass another node before their DQ",
         cost="TensorRT refuses the file.",
         fix="Let the DQ read the stored codes; put the node after the DQ, or store the codes as it leaves them."),
)  # fmt: skip
