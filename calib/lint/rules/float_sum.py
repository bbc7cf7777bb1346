"""An integer sum needs all three of its tensors quantized.

ONNX Runtime forms QLinearAdd from DQ, DQ, Add (ReLU) and Q. Where BN follows a sum, as in pre-activation networks,
float is the better choice: BN is computed in float anyway.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import (
    DEQUANTIZE,
    QUANTIZE,
    activated,
    is_dequantized,
    is_int8,
    name_of,
    users,
    value_name,
)

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ504",
    severity=Severity.WARNING,
    title="a residual sum before a Conv is computed in float",
    cost="Its inputs are converted to float and back.",
    mend="Quantize both inputs of the sum and its output, behind the ReLU.",
    targets=(Target.ONNXRUNTIME,),
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields the sums that a ReLU and an int8 Conv follow and that have a float input or output."""
    for add in facts.sums:
        value = activated(add.outputs[0])
        readers = users(value)
        convs = [node for reader in readers for node in _behind(reader) if node.op_type == "Conv" and is_int8(node)]
        if not convs or value is add.outputs[0]:
            continue
        tensors = [value_name(before) for before in add.inputs if not is_dequantized(before)]
        tensors += [value_name(value)] if any(reader.op_type != QUANTIZE for reader in readers) else []
        if tensors:
            yield Place(name_of(add), f"{', '.join(tensors)} in float")


def _behind(reader: ir.Node) -> list[ir.Node]:
    """The node itself, or the users behind its Q and DQ."""
    if reader.op_type not in (QUANTIZE, DEQUANTIZE):
        return [reader]
    return [node for user in users(reader.outputs[0]) for node in _behind(user)]
