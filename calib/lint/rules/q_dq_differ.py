"""A Q and the DQ behind it form a pair only with the same scale and zero point.

ONNX lets them differ; then all values of the tensor are multiplied by the ratio of the scales.
"""

from __future__ import annotations

from collections.abc import Iterator

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity
from wrn_deploy.calib.lint.walk import QUANTIZE, brief, input_of, name_of, producer, same_scale, scale_of, zero_point_of

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ204",
    severity=Severity.ERROR,
    title="a DQ has another scale or zero point than the Q before it",
    cost="Every value of the tensor is wrong by the same factor.",
    mend="Let both read the same scale and zero point.",
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields each DQ that does not fit its Q."""
    for node in facts.dequantizers:
        quantizer = producer(input_of(node, 0), QUANTIZE)
        if quantizer is not None and not same_scale(quantizer, node):
            here, there = (f"{brief(scale_of(of))} (zero point {brief(zero_point_of(of))})" for of in (node, quantizer))
            yield Place(name_of(node), f"{here}, and {name_of(quantizer)} has {there}")
