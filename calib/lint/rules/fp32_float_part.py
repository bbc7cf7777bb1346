"""The float part of an int8 graph should be fp16.

A strongly typed network, the only kind in TensorRT 11, runs it in fp32 (or TF32) if it is written so: there is no
flag that changes that.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ402",
    severity=Severity.WARNING,
    title="the float part of the graph is in fp32",
    cost=(
        "What is not int8 (skips, sums, BN, pooling, the classifier) moves twice the bytes of fp16 and computes "
        "at half its speed or less."
    ),
    mend="Insert the Q/DQ into the fp16 graph.",
    targets=(Target.TENSORRT,),
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields the graph, if most of its Convs give fp32."""
    if facts.quantizers and facts.float_type is ir.DataType.FLOAT:
        yield Place("", f"the outputs of most of its {len(facts.convs)} Convs are float32")
