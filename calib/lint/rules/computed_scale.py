"""Scales and zero points are constants.

TensorRT fuses Q/DQ into integer kernels when it builds; a scale that is computed for each image (dynamic
quantization) is not known then. The parser of TensorRT-RTX 1.7 crashes on one.
"""

from __future__ import annotations

from collections.abc import Iterator

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import is_fixed, name_of, value_name

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ208",
    severity=Severity.ERROR,
    title="a scale or zero point is computed at run time",
    cost="The builder refuses the file or crashes; nothing could be fused.",
    mend="Calibrate, and store the scales as constants.",
    targets=(Target.TENSORRT,),
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields each Q and DQ with such a scale or zero point."""
    for node in (*facts.quantizers, *facts.dequantizers):
        computed = [value_name(value) for value in node.inputs[1:] if not is_fixed(value)]
        if computed:
            yield Place(name_of(node), f"{', '.join(computed)} is no constant")
