"""Weights need not be stored in float.

NVIDIA, "Explicit Quantization", Quantized Weights: TensorRT takes float weights with Q and DQ, and quantized ones
with a DQ alone. WRN-50-2: 275 MB and 3 s to build, and 69 MB and 1.4 s.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity
from wrn_deploy.calib.lint.walk import input_of, is_fixed, name_of, value_name

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ304",
    severity=Severity.NOTE,
    title="weights are stored in float with Q and DQ",
    cost="The file is four times as large (fp16: twice), and building takes longer.",
    mend="Store int8 weights with a DQ alone.",
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields each Q of a constant."""
    for quantizer in facts.quantizers:
        value = input_of(quantizer, 0)
        if is_fixed(value):
            yield Place(
                name_of(quantizer), f"{value_name(value)} is stored as {facts.types.get(value) or _stored(value)}"
            )


def _stored(value: ir.Value | None) -> ir.DataType | None:
    return value.dtype if value is not None else None
