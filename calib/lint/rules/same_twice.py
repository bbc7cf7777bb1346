"""One Q of a tensor is enough for all of its users.

Quantizers that add Q/DQ to each input of each node write such graphs; runtimes may merge them.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity
from wrn_deploy.calib.lint.walk import input_of, name_of, same_scale, value_name

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ108",
    severity=Severity.NOTE,
    title="a tensor is quantized twice with the same scale",
    cost="Two nodes for one; a runtime that does not merge them writes the tensor twice.",
    mend="Let all users read the output of one DQ.",
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields each Q that does what an earlier one does."""
    first: dict[str, list[ir.Node]] = {}
    for quantizer in facts.activation_quantizers:
        earlier = first.setdefault(value_name(input_of(quantizer, 0)), [])
        same = next((before for before in earlier if same_scale(before, quantizer)), None)
        if same is not None:
            yield Place(name_of(quantizer), f"{name_of(same)} does the same")
        earlier.append(quantizer)
