"""A DQ that feeds a Q alone changes one scale into another.

NVIDIA, "Explicit Quantization": be conservative with Q/DQ, since those that cannot be fused are kernels of their own.
"""

from __future__ import annotations

from collections.abc import Iterator

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity
from wrn_deploy.calib.lint.walk import dequantizer_of, input_of, name_of

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ109",
    severity=Severity.WARNING,
    title="a tensor is dequantized and quantized again with nothing between",
    cost="A kernel that only rounds a second time.",
    mend="Use one scale, and remove the inner DQ and Q.",
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields each Q whose input a DQ makes."""
    for quantizer in facts.activation_quantizers:
        dequantizer = dequantizer_of(input_of(quantizer, 0))
        if dequantizer is not None:
            yield Place(name_of(quantizer), f"right behind {name_of(dequantizer)}")
