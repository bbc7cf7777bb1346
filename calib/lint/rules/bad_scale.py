"""A scale is positive, finite and no float32 subnormal.

TensorRT: "All scale coefficients must have strictly positive values" (IQuantizeLayer); TensorRT-RTX 1.7 builds a plan
with an infinite one. GPUs flush float32 subnormals to zero.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity
from wrn_deploy.calib.lint.walk import brief, input_of, name_of, scale_of, value_name

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ201",
    severity=Severity.ERROR,
    title="a scale is zero, negative, NaN, infinite or a float32 subnormal",
    cost="The file cannot be built, or its values are NaN or zero.",
    mend="Calibrate again; give a tensor that is always zero any positive scale.",
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields each Q and DQ with such a scale."""
    for node in (*facts.quantizers, *facts.dequantizers):
        scale = scale_of(node)
        if scale is None:
            continue
        values = scale.astype(np.float64)
        bad = values[~(np.isfinite(values) & (values >= LEAST))]
        if bad.size:
            yield Place(name_of(node), f"{brief(bad)} in {value_name(input_of(node, 1))}")


LEAST = 2.0**-126  # the smallest normal float32; fp16 subnormals lie above it
