"""The scales of a Conv's weights belong to its output channels.

Axis 0 of (out, in / groups, height, width). TensorRT-RTX 1.7 builds a larger plan from another axis; ONNX Runtime
1.31 forms a QLinearConv, whose scales are those of the output channels whatever the axis was.
"""

from __future__ import annotations

from collections.abc import Iterator

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity
from wrn_deploy.calib.lint.walk import axis_of, dequantizer_of, input_of, name_of, scale_of

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ301",
    severity=Severity.ERROR,
    title="a Conv's weights have a scale for each entry of another axis than 0",
    cost=(
        "The scales cannot be taken out of the sum over the input channels: TensorRT runs the Conv in float, ONNX "
        "Runtime may compute it wrongly."
    ),
    mend="Quantize the weights along axis 0.",
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields the Convs with such weights."""
    for conv in facts.convs:
        dequantizer = dequantizer_of(input_of(conv, 1))
        scale = scale_of(dequantizer) if dequantizer is not None else None
        if dequantizer is not None and scale is not None and scale.size > 1 and axis_of(dequantizer) != 0:
            yield Place(name_of(conv), f"axis {axis_of(dequantizer)} in {name_of(dequantizer)}")
