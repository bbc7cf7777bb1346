"""uint8 x int8 products may saturate on CPUs without VNNI.

ONNX Runtime, "Quantize ONNX models": VPMADDUBSW adds two products in 16 bits; "reduce_range" (weights of 7 bits) or
uint8 weights avoid that, and CPUs with VNNI and Arm CPUs have no such issue.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import codes_type, constant, dequantizer_of, input_of, name_of

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ505",
    severity=Severity.NOTE,
    title="int8 weights use more than 7 bits with uint8 activations",
    cost="On x86-64 CPUs without VNNI sums of two products saturate, which costs accuracy.",
    mend="Nothing on CPUs with VNNI or on Arm; else use 7-bit weights (quantize_static: reduce_range=True).",
    targets=(Target.ONNXRUNTIME,),
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields the graph, with the first Conv whose weights leave -64..63."""
    for conv in facts.int8_convs:
        data, weights = dequantizer_of(input_of(conv, 0)), dequantizer_of(input_of(conv, 1))
        codes = constant(input_of(weights, 0)) if weights is not None else None
        if data is None or codes is None or codes.dtype != np.int8 or codes_type(data) is not ir.DataType.UINT8:
            continue
        if codes.min() < -64 or codes.max() > 63:
            yield Place("", f"{codes.min()}..{codes.max()} in {name_of(conv)}, for example")
            return
