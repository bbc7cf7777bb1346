"""TensorRT has symmetric quantization alone.

TensorRT: "zeroPt must only contain zero-valued coefficients" (IQuantizeLayer); the ONNX parser: "Non-zero zero point
is not supported" (NVIDIA/TensorRT #2774, #4698).
"""

from __future__ import annotations

from collections.abc import Iterator

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import brief, name_of, zero_point_of

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ205",
    severity=Severity.ERROR,
    title="a zero point is not zero",
    cost="TensorRT refuses the file.",
    mend="Calibrate symmetrically; in quantize_static: ActivationSymmetric and WeightSymmetric, with QInt8.",
    targets=(Target.TENSORRT,),
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields each Q and DQ with such a zero point."""
    for node in (*facts.quantizers, *facts.dequantizers):
        zero_point = zero_point_of(node)
        if zero_point is not None and zero_point.astype(float).any():
            yield Place(name_of(node), f"zero point {brief(zero_point)}")
