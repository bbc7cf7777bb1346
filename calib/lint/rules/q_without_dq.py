"""What a Q writes must reach a DQ.

TensorRT-RTX 1.7 refuses a Conv that reads a Q ("`input` and `kernel` must be of same type"); one that nothing reads
is removed.
"""

from __future__ import annotations

from collections.abc import Iterator

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity
from wrn_deploy.calib.lint.walk import DEQUANTIZE, name_of, users

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ113",
    severity=Severity.ERROR,
    title="the output of a Q is read by no DQ",
    cost=(
        "Where nothing reads it, the tensor is float after all; where another node reads the codes, the file "
        "cannot be built or run."
    ),
    mend="Put a DQ with the same scale behind the Q, and let the users read that; or remove the Q.",
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields each Q with no users, or with users that compute."""
    for quantizer in facts.quantizers:
        readers = users(quantizer.outputs[0])
        wrong = [f"{node.op_type} {name_of(node)}" for node in readers if node.op_type not in PASSED]
        if wrong or not (readers or quantizer.outputs[0].is_graph_output()):
            yield Place(name_of(quantizer), f"read by {', '.join(wrong) or 'nothing'}")


# Those that move codes about without computing.
PASSED = (
    DEQUANTIZE, "Concat", "Flatten", "Identity", "MaxPool", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Transpose",
    "Unsqueeze",
)  # fmt: skip
