"""QLinearConv has an int8 output, too.

ONNX Runtime takes DQ, Conv, ReLU and Q together for one QLinearConv, and only if all users of the output are Q
(qdq_selectors.cc: ConvNodeGroupSelector).
"""

from __future__ import annotations

from collections.abc import Iterator

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import QUANTIZE, activated, name_of, users, value_name

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ502",
    severity=Severity.WARNING,
    title="the output of a quantized Conv is not quantized",
    cost="No QLinearConv is formed: the Conv runs in float, with a DQ before it.",
    mend="Quantize the output of the Conv, behind its ReLU, for all of its users.",
    targets=(Target.ONNXRUNTIME,),
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields the Convs whose output, or that of their ReLU, is read in float."""
    for conv in facts.int8_convs:
        value = activated(conv.outputs[0])
        readers = [f"{node.op_type} {name_of(node)}" for node in users(value) if node.op_type != QUANTIZE]
        if readers or not users(value):
            yield Place(name_of(conv), f"{value_name(value)} is read by {', '.join(readers) or 'the output'}")
