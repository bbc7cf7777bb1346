"""A graph without Q/DQ is a float graph.

Precision is in the graph: TensorRT 11 has no int8 flag and no calibrator, and ONNX Runtime never quantizes by itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity
from wrn_deploy.calib.lint.walk import INTEGER_OPERATORS

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ404",
    severity=Severity.ERROR,
    title="the graph has no Q/DQ",
    cost="Nothing runs in int8.",
    mend="Calibrate, which writes a graph with Q/DQ.",
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields the graph, unless it is quantized with integer operators."""
    if not facts.quantizers and not facts.dequantizers and not facts.of(*INTEGER_OPERATORS):
        yield Place("", f"{len(facts.convs)} Convs in float")
