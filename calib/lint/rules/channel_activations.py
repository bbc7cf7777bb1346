"""Activations have one scale a tensor.

NVIDIA, "Explicit Quantization", Q/DQ Layer-Placement Recommendations: "Use per-tensor quantization for activations
and per-channel quantization for weights". QLinearConv takes one scale for its data, too.
"""

from __future__ import annotations

from collections.abc import Iterator

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity
from wrn_deploy.calib.lint.walk import name_of, scale_of

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ207",
    severity=Severity.ERROR,
    title="an activation is quantized with a scale a channel",
    cost="A Conv cannot sum integers of different scales: it runs in float.",
    mend="Calibrate one scale a tensor.",
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields each Q of a tensor with more than one scale."""
    for quantizer in facts.activation_quantizers:
        scale = scale_of(quantizer)
        if scale is not None and scale.size > 1:
            yield Place(name_of(quantizer), f"{scale.size} scales")
