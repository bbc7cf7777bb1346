"""Nothing may stand between a Conv and its BN or ReLU.

NVIDIA, "Explicit Quantization", Q/DQ Layer-Placement Recommendations: "By default, do not quantize the outputs of
weighted operations"; "Do not simulate batch normalization and ReLU fusions".
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import input_of, is_affine, name_of, producer, users

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ102",
    severity=Severity.ERROR,
    title="Q/DQ stand between a Conv, BN or sum and the BN or ReLU behind it",
    cost=(
        "The Conv is not fused with what follows: one more kernel, one more tensor in memory, and values are "
        "rounded twice."
    ),
    mend="Remove these Q/DQ; quantize behind the ReLU.",
    targets=(Target.TENSORRT,),
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields each Q that is the only user of a Conv or sum, and has one ReLU or BN behind its DQ."""
    for quantizer in facts.activation_quantizers:
        value = input_of(quantizer, 0)
        before = producer(value)
        if value is None or before is None or len(users(value)) != 1:
            continue
        behind = [user for dequantizer in users(quantizer.outputs[0]) for user in users(dequantizer.outputs[0])]
        if len(behind) == 1 and _fuses(before, behind[0], before in facts.sums):
            detail = f"between {before.op_type} {name_of(before)} and {behind[0].op_type} {name_of(behind[0])}"
            yield Place(name_of(quantizer), detail)


def _fuses(before: ir.Node, behind: ir.Node, is_sum: bool) -> bool:
    if behind.op_type in ("Relu", "Clip"):
        return is_sum or before.op_type in ("Conv", "BatchNormalization")
    return before.op_type == "Conv" and is_affine(behind)  # BN behind a sum cannot be folded
