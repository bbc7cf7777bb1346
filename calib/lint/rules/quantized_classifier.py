"""The pooled features and the classifier belong in float.

Measured on wide_resnet50_2: entropy calibration clipped the classifier's input to 17 % of its maximum, and the cosine
of the logits with those of fp32 fell to 0.037; with that input in float it was 0.966.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import DEQUANTIZE, QUANTIZE, input_of, is_dequantized, name_of, producer

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ105",
    severity=Severity.WARNING,
    title="the classifier's input, the pooled features, is quantized",
    cost=(
        "Accuracy: calibration may clip it (cosine with fp32 0.037 instead of 0.966, measured), and one small "
        "product is no faster."
    ),
    mend="Leave the Gemm or MatMul behind the global pooling in float.",
    targets=(Target.TENSORRT,),
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields each product whose quantized input comes from a global pooling."""
    for node in facts.of("Gemm", "MatMul"):
        if is_dequantized(input_of(node, 0)) and (pool := _pooling_behind(input_of(node, 0))):
            yield Place(name_of(node), f"its input comes from {name_of(pool)}")


PASSED = (QUANTIZE, DEQUANTIZE, "Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze")
POOLINGS = ("AveragePool", "GlobalAveragePool", "ReduceMean")


def _pooling_behind(value: ir.Value | None) -> ir.Node | None:
    while (node := producer(value, *PASSED)) is not None:
        value = input_of(node, 0)
    return producer(value, *POOLINGS)
