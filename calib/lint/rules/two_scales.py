"""One tensor, one scale: a second int8 copy of it is rarely meant.

A calibrator that looks at each user by itself, or a graph quantized in parts, gives one tensor several scales.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity
from wrn_deploy.calib.lint.walk import brief, input_of, name_of, same_scale, scale_of, value_name

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ107",
    severity=Severity.WARNING,
    title="a tensor is quantized with different scales for different users",
    cost="It is written to memory once for each scale, and the kernel before it can write only one of them.",
    mend="Use one scale for the tensor: that of its whole range.",
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields each Q of a tensor that an earlier Q quantizes with another scale."""
    first: dict[str, ir.Node] = {}
    for quantizer in facts.activation_quantizers:
        tensor = value_name(input_of(quantizer, 0))
        before = first.setdefault(tensor, quantizer)
        if not same_scale(before, quantizer):
            scales = f"{brief(scale_of(before))} and {brief(scale_of(quantizer))}"
            yield Place(name_of(quantizer), f"{tensor} has the scales {scales}")
