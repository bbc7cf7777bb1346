"""TensorRT reads Q/DQ, and no operators on integers.

onnx/onnx-tensorrt #560: "No importer registered for op: QLinearConv". ONNX Runtime writes them in its QOperator
format and by quantize_dynamic.
"""

from __future__ import annotations

from collections.abc import Iterator

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import INTEGER_OPERATORS, name_of

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ405",
    severity=Severity.ERROR,
    title="the graph is quantized with integer operators",
    cost="TensorRT refuses the file.",
    mend="Quantize in the QDQ format; quantize_static: quant_format=QuantFormat.QDQ.",
    targets=(Target.TENSORRT,),
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields each such node."""
    for node in facts.of(*INTEGER_OPERATORS):
        yield Place(name_of(node), node.op_type)
