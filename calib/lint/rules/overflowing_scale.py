"""The largest code times the scale must fit into fp16.

fp16 ends at 65504, so that scales above 515 give infinities for the codes near 127.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import brief, name_of, scale_of

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ203",
    severity=Severity.WARNING,
    title="dequantized values overflow fp16",
    cost="Large values become infinite, and then NaN.",
    mend="Keep this part of the graph in fp32, or calibrate with a method that clips.",
    targets=(Target.TENSORRT,),
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields each DQ of tensors whose 127th step is no fp16 number; weights do not reach that far."""
    for node in facts.dequantizers:
        scale = scale_of(node)
        if scale is not None and scale.dtype == np.float16 and scale.ndim == 0:
            reach = 127.0 * float(scale)
            if np.isfinite(reach) and reach > float(np.finfo(np.float16).max):
                yield Place(name_of(node), f"127 steps of {brief(scale)} are {reach:.6g}: fp16 ends at 65504")
