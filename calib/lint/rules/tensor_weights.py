"""Weights are quantized with a scale an output channel.

NVIDIA, "Explicit Quantization", Q/DQ Layer-Placement Recommendations: "per-channel quantization for weights".
Channels differ in range by orders of magnitude where BN was folded.
"""

from __future__ import annotations

from collections.abc import Iterator

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity
from wrn_deploy.calib.lint.walk import brief, dequantizer_of, input_of, name_of, scale_of, shape_of

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ302",
    severity=Severity.WARNING,
    title="a Conv's weights have one scale for all output channels",
    cost="Accuracy: channels of small weights get few steps. It saves no time.",
    mend="Quantize the weights along axis 0.",
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields the Convs with such weights and more than one output channel."""
    for conv in facts.convs:
        dequantizer, shape = dequantizer_of(input_of(conv, 1)), shape_of(conv.outputs[0])
        scale = scale_of(dequantizer) if dequantizer is not None else None
        single = shape is not None and len(shape) > 1 and shape[1] == 1
        if scale is not None and scale.size == 1 and not single:
            yield Place(name_of(conv), f"one scale, {brief(scale)}")
