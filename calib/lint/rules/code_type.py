"""TensorRT's 8-bit integers are signed.

TensorRT-RTX 1.7 takes uint8 with zero point 0 for int8 ("Defaulting to INT8 instead"), and refuses uint8 weights. A Q
without a zero point is uint8 in ONNX.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import QUANTIZE, codes_type, input_of, name_of, producer

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ206",
    severity=Severity.ERROR,
    title="codes are not int8",
    cost="uint8 codes above 127, half of the range, are clipped; other types are refused.",
    mend="Use int8 zero points.",
    targets=(Target.TENSORRT,),
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields each Q, and each DQ of stored codes, of a type that TensorRT has not; int32 has a rule of its own."""
    stored = [node for node in facts.dequantizers if producer(input_of(node, 0), QUANTIZE) is None]
    for node in (*facts.quantizers, *stored):
        found = codes_type(node)
        if found in REFUSED:
            implied = "" if input_of(node, 2) is not None else ", as it has no zero point"
            yield Place(name_of(node), f"{found}{implied}")


REFUSED = (ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16, ir.DataType.UINT4, ir.DataType.FLOAT8E5M2)
