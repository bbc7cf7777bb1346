"""Rules 101 to 109 and 113: where Q/DQ must and must not stand. To add one, add a check and its entry in RULES.

"NVIDIA" stands for TensorRT's documentation, "Explicit Quantization", Q/DQ Layer-Placement Recommendations.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import (
    at,
    before_qdq,
    brief,
    is_affine,
    is_dequantized,
    is_int8,
    made_by_conv,
    same_scale,
    scale_of,
    typed_name,
)
from wrn_deploy.graph import (
    DEQUANTIZE,
    QUANTIZE,
    REARRANGING,
    dequantizer_of,
    input_of,
    name_of,
    origin,
    producer,
    users,
    value_name,
)

__all__ = ["RULES"]

MOVES_CODES = (*REARRANGING, "Concat", "MaxPool", "Pad", "Slice", "Split")  # int8 codes pass through them
POOLINGS = ("AveragePool", "GlobalAveragePool", "ReduceMean")


def float_skip(facts: GraphFacts) -> Iterator[Place]:
    """Sums that TensorRT cannot fuse into the int8 Conv before them with an int8 output.

    NVIDIA: "Quantize the residual input in skip connections"; with a float one "the output of the fused convolution is
    limited to" float, "and the trailing Q-layer cannot be fused". A sum that BN reads, lowered or not, or that ends in
    a Conv which is float on purpose, is float too, whatever its skip is.
    """
    for add in facts.sums:
        if any(map(is_affine, users(add.outputs[0]))):
            continue
        skip = facts.skip_of(add)
        quantized = [is_dequantized(value) for value in add.inputs]
        convs = [made_by_conv(before_qdq(value)) for value in add.inputs]
        last = convs[1 if skip is add.inputs[0] else 0]
        if last is not None and facts.is_kept_float(last) and not is_int8(last):
            continue
        if all(quantized) or not any(conv is not None and is_int8(conv) for conv in convs):
            continue
        if not any(quantized):
            yield at(add, f"the skip {value_name(skip)} is float")
        elif convs[quantized.index(False)] is None:
            conv = value_name(before_qdq(add.inputs[quantized.index(True)]))
            yield at(add, f"the Q/DQ are on {conv}, the Conv's side")


def split_activation(facts: GraphFacts) -> Iterator[Place]:
    """Q that are the only user of a Conv, BN or sum, and have one ReLU or BN behind their DQ.

    NVIDIA: "By default, do not quantize the outputs of weighted operations"; "Do not simulate batch normalization and
    ReLU fusions".
    """
    for quantizer in facts.activation_quantizers:
        value = input_of(quantizer, 0)
        before = producer(value)
        if value is None or before is None or len(users(value)) != 1:
            continue
        behind = [user for dequantizer in users(quantizer.outputs[0]) for user in users(dequantizer.outputs[0])]
        if len(behind) == 1 and _fuses(before, behind[0], before in facts.sums):
            yield at(quantizer, f"between {typed_name(before)} and {typed_name(behind[0])}")


def _fuses(before: ir.Node, behind: ir.Node, is_sum: bool) -> bool:
    if behind.op_type in ("Relu", "Clip"):
        return is_sum or before.op_type in ("Conv", "BatchNormalization")
    return before.op_type == "Conv" and is_affine(behind)  # BN behind a sum cannot be folded


def both_sum_inputs(facts: GraphFacts) -> Iterator[Place]:
    """Sums with Q/DQ on both inputs, and a Conv that could be fused.

    NVIDIA, the figure of a suboptimal fusion: an extra pair of Q/DQ separates the Conv from the sum.
    `onnxruntime.quantization.quantize_static` writes such graphs.
    """
    for add in facts.sums:
        skip = before_qdq(facts.skip_of(add))
        other = next((value for value in map(before_qdq, add.inputs) if value is not skip), None)
        if all(map(is_dequantized, add.inputs)) and made_by_conv(other) is not None:
            yield at(add, f"{value_name(other)} needs no Q/DQ")


def float_max_pool(facts: GraphFacts) -> Iterator[Place]:
    """Each MaxPool among int8 Convs with a float input, whose output is not read by a single Q.

    NVIDIA: MaxPool commutes with Q and DQ, so TensorRT moves a Q that is its only user in front of it; it cannot if
    another user reads the float output. A MaxPool that only Convs read which are float on purpose is float too.
    """
    for pool in facts.of("MaxPool") if facts.int8_convs else []:
        readers, value = users(pool.outputs[0]), input_of(pool, 0)
        movable = [reader.op_type for reader in readers] == [QUANTIZE]
        kept = all(node.op_type == "Conv" and facts.is_kept_float(node) for node in readers)
        if not movable and not kept and not is_dequantized(value):
            yield at(pool, f"{value_name(value)} is float")


def quantized_classifier(facts: GraphFacts) -> Iterator[Place]:
    """Each Gemm or MatMul whose quantized input comes from a global pooling.

    Measured on wide_resnet50_2: entropy calibration clipped the classifier's input to 17 % of its maximum, and the
    cosine of the logits with those of fp32 fell to 0.037; with that input in float it was 0.966.
    """
    for node in facts.of("Gemm", "MatMul"):
        pooled = origin(input_of(node, 0), QUANTIZE, DEQUANTIZE, "Cast", *REARRANGING)
        pool = producer(pooled, *POOLINGS)
        if pool is not None and is_dequantized(input_of(node, 0)):
            yield at(node, f"its input comes from {name_of(pool)}")


def read_as_both(facts: GraphFacts) -> Iterator[Place]:
    """Q of tensors that other nodes read in float: each is two tensors in memory.

    In a pre-activation network BN reads the stream, and the next sum reads it quantized. Whether to quantize it once
    for both depends on accuracy, so this is a note.
    """
    for quantizer in facts.activation_quantizers:
        value = input_of(quantizer, 0)
        readers = users(value) if value is not None else []
        others = [name_of(node) for node in readers if node.op_type not in (QUANTIZE, "Shape")]
        if others:
            yield at(quantizer, f"{value_name(value)} is also read by {', '.join(others)}")


def two_scales(facts: GraphFacts) -> Iterator[Place]:
    """Q of a tensor that an earlier Q quantizes with another scale.

    Calibrators that look at each user alone, and graphs quantized in parts, give a tensor several scales; a second int8
    copy is rarely intended.
    """
    first: dict[str, ir.Node] = {}
    for quantizer in facts.activation_quantizers:
        tensor = value_name(input_of(quantizer, 0))
        before = first.setdefault(tensor, quantizer)
        if not same_scale(before, quantizer):
            scales = f"{brief(scale_of(before))} and {brief(scale_of(quantizer))}"
            yield at(quantizer, f"{tensor} has the scales {scales}")


def same_twice(facts: GraphFacts) -> Iterator[Place]:
    """Q that repeat an earlier one: one Q of a tensor is enough for all of its users.

    Quantizers that add Q/DQ to each input of each node write such graphs; runtimes may merge them.
    """
    first: dict[str, list[ir.Node]] = {}
    for quantizer in facts.activation_quantizers:
        earlier = first.setdefault(value_name(input_of(quantizer, 0)), [])
        same = next((before for before in earlier if same_scale(before, quantizer)), None)
        if same is not None:
            yield at(quantizer, f"{name_of(same)} does the same")
        earlier.append(quantizer)


def requantized(facts: GraphFacts) -> Iterator[Place]:
    """Q that directly follow a DQ, and so only change one scale into another.

    NVIDIA: be conservative with Q/DQ, since those that cannot be fused are kernels of their own.
    """
    for quantizer in facts.activation_quantizers:
        dequantizer = dequantizer_of(input_of(quantizer, 0))
        if dequantizer is not None:
            yield at(quantizer, f"directly after {name_of(dequantizer)}")


def q_without_dq(facts: GraphFacts) -> Iterator[Place]:
    """Q without users, or with users that compute.

    TensorRT-RTX 1.7 refuses a Conv that reads a Q ("`input` and `kernel` must be of same type"), and removes a Q that
    nothing reads.
    """
    for quantizer in facts.quantizers:
        readers = users(quantizer.outputs[0])
        wrong = [typed_name(node) for node in readers if node.op_type not in (DEQUANTIZE, *MOVES_CODES)]
        if wrong or not (readers or quantizer.outputs[0].is_graph_output()):
            yield at(quantizer, f"read by {', '.join(wrong) or 'nothing'}")


RULES = (
    Rule(id="QDQ101", severity=Severity.ERROR, targets=(Target.TENSORRT,), check=float_skip,
         title="the skip input of a residual sum is not quantized",
         cost="Conv and sum are one kernel, whose output takes the precision of the skip: float is written to memory, "
              "and the next Q is a separate kernel.",
         fix="Put Q/DQ on the skip input of the sum: the identity, or the output of the downsampling Conv."),
    Rule(id="QDQ102", severity=Severity.ERROR, targets=(Target.TENSORRT,), check=split_activation,
         title="Q/DQ are between a Conv, BN or sum and the BN or ReLU after it",
         cost="The Conv is not fused with what follows: one more kernel, one more tensor in memory, and values are "
              "rounded twice.",
         fix="Remove these Q/DQ; quantize after the ReLU."),
    Rule(id="QDQ103", severity=Severity.ERROR, targets=(Target.TENSORRT,), check=both_sum_inputs,
         title="both inputs of a residual sum are quantized",
         cost="The Q/DQ between the Conv and the sum keep them apart: two kernels, and one more tensor written and "
              "read.",
         fix="Remove the Q/DQ on the Conv's side; leave those on the skip."),
    Rule(id="QDQ104", severity=Severity.WARNING, targets=(Target.TENSORRT,), check=float_max_pool,
         title="a MaxPool next to int8 Convs works on floats",
         cost="It reads and writes tensors of twice the size, often the network's largest.",
         fix="Quantize the input of the MaxPool, with the same scale as its output."),
    Rule(id="QDQ105", severity=Severity.WARNING, targets=(Target.TENSORRT,), check=quantized_classifier,
         title="the classifier's input, the pooled features, is quantized",
         cost="Accuracy: calibration may clip it (cosine with fp32 0.037 instead of 0.966, measured), and one small "
              "product is no faster.",
         fix="Leave the Gemm or MatMul after the global pooling in float."),
    Rule(id="QDQ106", severity=Severity.NOTE, targets=(Target.TENSORRT,), check=read_as_both,
         title="a tensor is read both in int8 and in float",
         cost="It is written to memory twice, and the kernel before it cannot write int8 alone.",
         fix="Quantize it once for all of its users, if the accuracy allows it."),
    Rule(id="QDQ107", severity=Severity.WARNING, check=two_scales,
         title="a tensor is quantized with different scales for different users",
         cost="It is written to memory once for each scale, and the kernel before it can write only one of them.",
         fix="Use one scale for the tensor: that of its whole range."),
    Rule(id="QDQ108", severity=Severity.NOTE, check=same_twice,
         title="a tensor is quantized twice with the same scale",
         cost="Two nodes for one; a runtime that does not merge them writes the tensor twice.",
         fix="Let all users read the output of one DQ."),
    Rule(id="QDQ109", severity=Severity.WARNING, check=requantized,
         title="a tensor is dequantized and quantized again with nothing between",
         cost="A kernel that only rounds a second time.",
         fix="Use one scale, and remove the inner DQ and Q."),
    Rule(id="QDQ113", severity=Severity.ERROR, check=q_without_dq,
         title="the output of a Q is read by no DQ",
         cost="If nothing reads it, the tensor is float after all; if another node reads the codes, the file "
              "cannot be built or run.",
         fix="Put a DQ with the same scale after the Q, and let the users read that; or remove the Q."),
)  # fmt: skip
