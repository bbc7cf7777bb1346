"""Only one input of a residual sum may be quantized.

NVIDIA, "Explicit Quantization", Q/DQ Layer-Placement Recommendations, the figure of a suboptimal fusion: an extra
pair of Q/DQ forces the Conv apart from the sum. `onnxruntime.quantization.quantize_static` writes such graphs.
"""

from __future__ import annotations

from collections.abc import Iterator

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import before_qdq, is_dequantized, made_by_conv, name_of, value_name

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ103",
    severity=Severity.ERROR,
    title="both inputs of a residual sum are quantized",
    cost="The Q/DQ between the Conv and the sum keep them apart: two kernels, and one more tensor written and read.",
    mend="Remove the Q/DQ on the Conv's side; leave those on the skip.",
    targets=(Target.TENSORRT,),
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields the sums with a Conv that could be fused, and Q/DQ on either input."""
    for add in facts.sums:
        if not all(map(is_dequantized, add.inputs)):
            continue
        skip = before_qdq(facts.skip_of(add))
        other = next((value for value in map(before_qdq, add.inputs) if value is not skip), None)
        if made_by_conv(other) is not None:
            yield Place(name_of(add), f"{value_name(other)} needs no Q/DQ")
