"""ONNX Runtime's CPU kernels are made for uint8 activations.

Measured on a CPU with AVX512-VNNI: 848 GOP/s with uint8 activations and int8 weights, 70 GOP/s with int8 for both; a
WRN-50-2 took 50.8 and 88 ms.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import codes_type, name_of

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ501",
    severity=Severity.WARNING,
    title="activations are int8, not uint8",
    cost="On x86-64 CPUs the kernels are up to ten times slower.",
    mend="Quantize activations to uint8; quantize_static: activation_type=QuantType.QUInt8.",
    targets=(Target.ONNXRUNTIME,),
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields the graph, with the number of such Q."""
    quantizers = facts.activation_quantizers
    signed = [node for node in quantizers if codes_type(node) is ir.DataType.INT8]
    if signed:
        yield Place("", f"{len(signed)} of {len(quantizers)}, as {name_of(signed[0])}")
