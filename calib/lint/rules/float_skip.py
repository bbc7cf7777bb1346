"""The skip of a residual sum must be quantized.

NVIDIA, "Explicit Quantization", Q/DQ Layer-Placement Recommendations: "Quantize the residual input in skip
connections"; with a float one "the output of the fused convolution is limited to" float, "and the trailing Q-layer
cannot be fused".
"""

from __future__ import annotations

from collections.abc import Iterator

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import before_qdq, is_dequantized, is_int8, made_by_conv, name_of, value_name

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ101",
    severity=Severity.ERROR,
    title="the skip input of a residual sum is not quantized",
    cost=(
        "Conv and sum are one kernel, whose output takes the precision of the skip: float is written to memory, "
        "and the next Q is a kernel of its own."
    ),
    mend="Put Q/DQ on the skip input of the sum: the identity, or the output of the downsampling Conv.",
    targets=(Target.TENSORRT,),
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields the sums behind an int8 Conv that cannot be fused into it with an int8 output.

    A sum that ends in a Conv which is float on purpose is float, too, whatever made its skip.
    """
    for add in facts.sums:
        skip = facts.skip_of(add)
        last = made_by_conv(before_qdq(add.inputs[1] if skip is add.inputs[0] else add.inputs[0]))
        if last is not None and name_of(last) in facts.kept_float and not is_int8(last):
            continue
        quantized = [is_dequantized(value) for value in add.inputs]
        convs = [made_by_conv(before_qdq(value)) for value in add.inputs]
        if all(quantized) or not any(conv is not None and is_int8(conv) for conv in convs):
            continue
        if not any(quantized):
            yield Place(name_of(add), f"the skip {value_name(skip)} is float")
        elif convs[quantized.index(False)] is None:
            conv = value_name(before_qdq(add.inputs[quantized.index(True)]))
            yield Place(name_of(add), f"the Q/DQ are on {conv}, the Conv's side")
