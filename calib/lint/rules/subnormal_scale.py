"""A scale that is an fp16 subnormal has few bits.

fp16 has normal numbers from 6.1e-5 on; below that the step from one number to the next is 6e-8.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import brief, name_of, scale_of

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ202",
    severity=Severity.NOTE,
    title="a scale is an fp16 subnormal",
    cost="It is inexact, by half of itself for the smallest one; what it belongs to is nearly always zero.",
    mend="Look at that tensor or those channels: they may be dead. Else keep the scale in fp32.",
    targets=(Target.TENSORRT,),
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields each DQ with such a scale: every Q has one."""
    for node in facts.dequantizers:
        scale = scale_of(node)
        if scale is None or scale.dtype != np.float16:
            continue
        small = scale[(scale > 0) & (scale < np.finfo(np.float16).smallest_normal)]
        if small.size:
            yield Place(name_of(node), f"{small.size} of {scale.size}, the least {brief(small.min())}")
