"""A Conv without Q/DQ in a quantized graph.

NVIDIA, "Explicit Quantization": "Quantize all inputs of weighted operations (Convolution, Transposed Convolution, and
GEMM)".
"""

from __future__ import annotations

from collections.abc import Iterator

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity
from wrn_deploy.calib.lint.walk import name_of, quantized_data, quantized_weights

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ110",
    severity=Severity.WARNING,
    title="a Conv is left in float",
    cost="It runs at half the speed of int8 or less, and its neighbours convert between int8 and float.",
    mend="Put Q/DQ on its data and its weights; or, if it is float for accuracy, leave it.",
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields the Convs without any Q/DQ, with their share of the work."""
    for conv in facts.convs:
        quantized = quantized_data(conv) or quantized_weights(conv)
        if facts.quantizers and not quantized and name_of(conv) not in facts.kept_float:
            share = facts.macs_share([conv])
            yield Place(name_of(conv), f"{100 * share:.1f} % of the Convs' MACs" if share is not None else "")
