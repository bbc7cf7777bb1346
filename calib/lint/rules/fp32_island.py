"""A part of an fp16 graph that is computed in fp32.

A strongly typed network is computed as it is written, so that each Cast is a conversion in memory. Cuts of automatic
mixed precision leave such parts.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import DEQUANTIZE, QUANTIZE, input_of, name_of, users

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ401",
    severity=Severity.WARNING,
    title="nodes in fp32 between Casts in an fp16 graph",
    cost="Conversions on both sides, and arithmetic at half the speed.",
    mend="Compute them in fp16; BN behind a Conv can be folded into it.",
    targets=(Target.TENSORRT,),
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields the nodes in fp32 that have a Cast from fp16 before and one to fp16 behind them."""
    if facts.float_type is not HALF:
        return
    from_half = {
        value for node in facts.of("Cast") if _type(facts, input_of(node, 0)) is HALF for value in node.outputs
    }
    behind = _spread(facts, from_half)
    for node in facts.nodes:
        if node.op_type not in APART and any(value in behind and _reaches_half(facts, value) for value in node.outputs):
            yield Place(name_of(node), f"{node.op_type} in fp32")


FLOAT, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
APART = ("Cast", QUANTIZE, DEQUANTIZE)  # these convert; they do not compute


def _type(facts: GraphFacts, value: ir.Value | None) -> ir.DataType | None:
    return facts.types.get(value) or (value.dtype if value is not None else None)


def _spread(facts: GraphFacts, start: set[ir.Value]) -> set[ir.Value | None]:
    """The fp32 values computed from fp32 values in `start`, these included."""
    reached: set[ir.Value | None] = {value for value in start if _type(facts, value) is FLOAT}
    for node in facts.nodes:
        if node.op_type not in APART and any(value in reached for value in node.inputs):
            reached |= {value for value in node.outputs if _type(facts, value) is FLOAT}
    return reached


def _reaches_half(facts: GraphFacts, value: ir.Value) -> bool:
    """Whether a Cast to fp16 comes behind the value before any Q/DQ."""
    seen, waiting = set[ir.Value](), [value]
    while waiting:
        for node in users(waiting.pop()):
            if node.op_type == "Cast" and _type(facts, node.outputs[0]) is HALF:
                return True
            if node.op_type not in APART:
                waiting.extend(output for output in node.outputs if output not in seen)
                seen.update(node.outputs)
    return False
