"""TensorRT's Conv takes a float bias.

TensorRT-RTX 1.7: "input has type Int32 but must have type FP8, FP4, Int4, Int8, or UInt8"; onnx/onnx-tensorrt #850.
`quantize_static` writes int32 biases.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import codes_type, name_of, users

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ303",
    severity=Severity.ERROR,
    title="a constant is quantized to int32",
    cost="TensorRT refuses the file.",
    mend="Leave biases in float; quantize_static: extra_options QuantizeBias=False.",
    targets=(Target.TENSORRT,),
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields each DQ of int32."""
    for node in facts.dequantizers:
        if codes_type(node) is ir.DataType.INT32:
            readers = ", ".join(name_of(user) for user in users(node.outputs[0]))
            yield Place(name_of(node), f"an input of {readers or 'nothing'}")
