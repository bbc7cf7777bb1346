"""A tensor that is read in int8 and in float is two tensors in memory.

In a pre-activation network the stream is read by the BN and, quantized, by the next sum. Whether it is better
quantized once for both is a question of accuracy, so that this is a note.
"""

from __future__ import annotations

from collections.abc import Iterator

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import QUANTIZE, input_of, name_of, users, value_name

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ106",
    severity=Severity.NOTE,
    title="a tensor is read both in int8 and in float",
    cost="It is written to memory twice, and the kernel before it cannot write int8 alone.",
    mend="Quantize it once for all of its users, if the accuracy allows it.",
    targets=(Target.TENSORRT,),
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields the Q of tensors that other nodes read in float."""
    for quantizer in facts.activation_quantizers:
        value = input_of(quantizer, 0)
        readers = users(value) if value is not None else []
        others = [name_of(node) for node in readers if node.op_type not in (QUANTIZE, "Shape")]
        if others:
            yield Place(name_of(quantizer), f"{value_name(value)} is also read by {', '.join(others)}")
