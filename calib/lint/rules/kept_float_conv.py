"""A Conv that the graph's metadata says is float on purpose.

The key is `wrn_deploy.float_convs`: a JSON list of names of Conv nodes.
"""

from __future__ import annotations

from collections.abc import Iterator

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity
from wrn_deploy.calib.lint.walk import name_of, quantized_data, quantized_weights

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ111",
    severity=Severity.NOTE,
    title="a Conv is in float on purpose",
    cost="It runs at half the speed of int8 or less, and its neighbours convert between int8 and float.",
    mend="Nothing to mend: it was chosen for accuracy or speed.",
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields the Convs without any Q/DQ, with their share of the work."""
    for conv in facts.convs:
        quantized = quantized_data(conv) or quantized_weights(conv)
        if facts.quantizers and not quantized and name_of(conv) in facts.kept_float:
            share = facts.macs_share([conv])
            yield Place(name_of(conv), f"{100 * share:.1f} % of the Convs' MACs" if share is not None else "")
