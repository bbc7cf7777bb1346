"""Rules 2xx: scales, zero points and types of codes. To add one, add a check and its entry in RULES."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import at, brief, same_scale, scale_of, typed_name, zero_point_of
from wrn_deploy.graph import (
    PASSING,
    codes_type,
    input_of,
    is_fixed,
    name_of,
    origin,
    producer,
    quantizer_of,
    value_name,
)

__all__ = ["RULES"]

MIN_SCALE = 2.0**-126  # the smallest normal float32; fp16 subnormals lie above it
FP16 = np.finfo(np.float16)
REFUSED = (ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16, ir.DataType.UINT4, ir.DataType.FLOAT8E5M2)


def bad_scale(facts: GraphFacts) -> Iterator[Place]:
    """Q and DQ with a scale that is not positive and finite, or is a float32 subnormal, which GPUs flush to zero.

    TensorRT: "All scale coefficients must have strictly positive values" (IQuantizeLayer); TensorRT-RTX 1.7 builds a
    plan with an infinite one.
    """
    for node in facts.qdq:
        scale = scale_of(node)
        values = scale.astype(np.float64) if scale is not None else np.ones(1)
        bad = values[~(np.isfinite(values) & (values >= MIN_SCALE))]
        if bad.size:
            yield at(node, f"{brief(bad)} in {value_name(input_of(node, 1))}")


def subnormal_scale(facts: GraphFacts) -> Iterator[Place]:
    """DQ with scales that are fp16 subnormals, and so have few bits; every Q has a DQ.

    fp16 has normal numbers from 6.1e-5 on; below that the step from one number to the next is 6e-8.
    """
    for node in facts.dequantizers:
        scale = scale_of(node)
        if scale is None or scale.dtype != np.float16:
            continue
        small = scale[(scale > 0) & (scale < FP16.smallest_normal)]
        if small.size:
            yield at(node, f"{small.size} of {scale.size}, the smallest {brief(small.min())}")


def overflowing_scale(facts: GraphFacts) -> Iterator[Place]:
    """DQ of tensors whose 127th step is above 65504, the largest fp16 number; weights do not reach that far.

    Scales above 515 give infinities for the codes near 127.
    """
    for node in facts.dequantizers:
        scale = scale_of(node)
        if scale is not None and scale.dtype == np.float16 and scale.ndim == 0:
            reach = 127.0 * float(scale)
            if np.isfinite(reach) and reach > float(FP16.max):
                yield at(node, f"127 steps of {brief(scale)} are {reach:.6g}: fp16 ends at 65504")


def q_dq_differ(facts: GraphFacts) -> Iterator[Place]:
    """DQ with another scale or zero point than the Q before it.

    ONNX allows that; it multiplies all values of the tensor by the ratio of the scales.
    """
    for node in facts.dequantizers:
        quantizer = quantizer_of(node)
        if quantizer is not None and not same_scale(quantizer, node):
            here, there = (f"{brief(scale_of(of))} (zero point {brief(zero_point_of(of))})" for of in (node, quantizer))
            yield at(node, f"{here}, and {name_of(quantizer)} has {there}")


def zero_point(facts: GraphFacts) -> Iterator[Place]:
    """Q and DQ with a zero point that is not zero: TensorRT quantizes symmetrically.

    TensorRT: "zeroPt must only contain zero-valued coefficients" (IQuantizeLayer); the ONNX parser: "Non-zero zero
    point is not supported" (NVIDIA/TensorRT #2774, #4698).
    """
    for node in facts.qdq:
        value = zero_point_of(node)
        if value is not None and value.astype(float).any():
            yield at(node, f"zero point {brief(value)}")


def code_type(facts: GraphFacts) -> Iterator[Place]:
    """Q, and DQ of stored codes, of a type that TensorRT does not support; int32 has its own rule.

    TensorRT-RTX 1.7 takes uint8 with zero point 0 for int8 ("Defaulting to INT8 instead"), and refuses uint8 weights.
    ONNX: a Q without a zero point writes uint8.
    """
    stored = [node for node in facts.dequantizers if quantizer_of(node) is None]
    for node in (*facts.quantizers, *stored):
        found = codes_type(node)
        if found in REFUSED:
            implied = "" if input_of(node, 2) is not None else ", as it has no zero point"
            yield at(node, f"{found}{implied}")


def channel_activations(facts: GraphFacts) -> Iterator[Place]:
    """Q of activations with more than one scale.

    NVIDIA, "Explicit Quantization", Q/DQ Layer-Placement Recommendations: "Use per-tensor quantization for activations
    and per-channel quantization for weights". QLinearConv takes one scale for its data, too.
    """
    for quantizer in facts.activation_quantizers:
        scale = scale_of(quantizer)
        if scale is not None and scale.size > 1:
            yield at(quantizer, f"{scale.size} scales")


def computed_scale(facts: GraphFacts) -> Iterator[Place]:
    """Q and DQ with a scale or zero point that is computed for each image (dynamic quantization).

    TensorRT fuses Q/DQ into integer kernels when it builds, and does not know such a scale then. The parser of
    TensorRT-RTX 1.7 crashes on one.
    """
    for node in facts.qdq:
        computed = [value_name(value) for value in node.inputs[1:] if not is_fixed(value)]
        if computed:
            yield at(node, f"{', '.join(computed)} is not a constant")


def computed_zero_point(facts: GraphFacts) -> Iterator[Place]:
    """Q and DQ with a zero point that other nodes than Identity, Dropout and Cast make from constants.

    TensorRT-RTX 1.7 refuses those of Reshape, Squeeze, Transpose, Expand and ConstantOfShape: "`zero_point` which is
    not an initializer". It computes scales from constants whatever makes them.
    """
    for node in facts.qdq:
        value = input_of(node, 2)
        made = producer(origin(value, "Cast", *PASSING))
        if made is not None and made.op_type != "Constant" and is_fixed(value):
            yield at(node, f"{value_name(value)} is made by {typed_name(made)}")


RULES = (
    Rule(id="QDQ201", severity=Severity.ERROR, check=bad_scale,
         title="a scale is zero, negative, NaN, infinite or a float32 subnormal",
         cost="The file cannot be built, or its values are NaN or zero.",
         fix="Calibrate again; give a tensor that is always zero any positive scale."),
    Rule(id="QDQ202", severity=Severity.NOTE, targets=(Target.TENSORRT,), check=subnormal_scale,
         title="a scale is an fp16 subnormal",
         cost="It is inexact, by half of itself for the smallest one; what it belongs to is nearly always zero.",
         fix="Look at that tensor or those channels: they may be dead. Else keep the scale in fp32."),
    Rule(id="QDQ203", severity=Severity.WARNING, targets=(Target.TENSORRT,), check=overflowing_scale,
         title="dequantized values overflow fp16",
         cost="Large values become infinite, and then NaN.",
         fix="Keep this part of the graph in fp32, or calibrate with a method that clips."),
    Rule(id="QDQ204", severity=Severity.ERROR, check=q_dq_differ,
         title="a DQ has another scale or zero point than the Q before it",
         cost="Every value of the tensor is wrong by the same factor.",
         fix="Let both read the same scale and zero point."),
    Rule(id="QDQ205", severity=Severity.ERROR, targets=(Target.TENSORRT,), check=zero_point,
         title="a zero point is not zero",
         cost="TensorRT refuses the file.",
         fix="Calibrate symmetrically; in quantize_static: ActivationSymmetric and WeightSymmetric, with QInt8."),
    Rule(id="QDQ206", severity=Severity.ERROR, targets=(Target.TENSORRT,), check=code_type,
         title="codes are not int8",
         cost="uint8 codes above 127, half of the range, are clipped; other types are refused.",
         fix="Use int8 zero points."),
    Rule(id="QDQ207", severity=Severity.ERROR, check=channel_activations,
         title="an activation is quantized with one scale per channel",
         cost="A Conv cannot sum integers of different scales: it runs in float.",
         fix="Calibrate one scale per tensor."),
    Rule(id="QDQ208", severity=Severity.ERROR, targets=(Target.TENSORRT,), check=computed_scale,
         title="a scale or zero point is computed at run time",
         cost="The builder refuses the file or crashes; nothing could be fused.",
         fix="Calibrate, and store the scales as constants."),
    Rule(id="QDQ209", severity=Severity.ERROR, targets=(Target.TENSORRT,), check=computed_zero_point,
         title="a zero point is computed from constants",
         cost="TensorRT refuses the file.",
         fix="Store the zero point."),
)  # fmt: skip
