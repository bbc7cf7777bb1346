"""QLinearConv adds its bias as int32.

In steps of data scale x weight scale (onnx.ai, QLinearConv). From 1.21 on ONNX Runtime quantizes a float bias by
itself (microsoft/onnxruntime #22969).
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import DEQUANTIZE, codes_type, input_of, name_of, producer, value_name

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ503",
    severity=Severity.NOTE,
    title="the bias of a quantized Conv is not int32",
    cost="Before ONNX Runtime 1.21 no QLinearConv is formed: the Conv runs in float.",
    mend="Store the bias as int32 with a DQ, in steps of data scale x weight scale.",
    targets=(Target.ONNXRUNTIME,),
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields the Convs with such a bias."""
    for conv in facts.int8_convs:
        bias = input_of(conv, 2)
        dequantizer = producer(bias, DEQUANTIZE)
        if bias is not None and (dequantizer is None or codes_type(dequantizer) is not ir.DataType.INT32):
            yield Place(name_of(conv), f"{value_name(bias)} is {bias.dtype}")
