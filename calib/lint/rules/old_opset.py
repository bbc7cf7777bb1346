"""Q/DQ of fp16 tensors need opset 19.

QuantizeLinear takes float16 from opset 19 on; before, x and the scale are float32. ONNX's checker and ONNX Runtime
refuse such a file; the parser of TensorRT-RTX 1.7 does not look.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity
from wrn_deploy.calib.lint.walk import input_of, name_of

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ403",
    severity=Severity.ERROR,
    title="Q/DQ have fp16 scales in an opset below 19",
    cost="The file is no valid ONNX: ONNX Runtime refuses it, and what a parser makes of it is not defined.",
    mend="Convert the graph to opset 19 or later before adding Q/DQ.",
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields the graph, with the number of such nodes."""
    nodes = [*facts.quantizers, *facts.dequantizers]
    half = [node for node in nodes if (scale := input_of(node, 1)) is not None and scale.dtype in HALVES]
    if half and facts.opset < 19:
        yield Place("", f"opset {facts.opset}, and {len(half)} of {len(nodes)} Q/DQ are in fp16, as {name_of(half[0])}")


HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
