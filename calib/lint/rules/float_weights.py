"""Weights of a Conv are quantized where its data is.

NVIDIA, "Explicit Quantization": "Quantize all inputs of weighted operations". ONNX Runtime from 1.21 on quantizes
such weights by itself (microsoft/onnxruntime #22969).
"""

from __future__ import annotations

from collections.abc import Iterator

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import input_of, name_of, quantized_data, quantized_weights, value_name

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ112",
    severity=Severity.ERROR,
    title="a Conv has quantized data and float weights",
    cost="It runs in float: the Q/DQ on its data cost time and accuracy and give nothing.",
    mend="Quantize the weights too, along axis 0, or remove the Q/DQ.",
    targets=(Target.TENSORRT,),
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields the Convs whose data alone is quantized."""
    for conv in facts.convs:
        if quantized_data(conv) and not quantized_weights(conv):
            yield Place(name_of(conv), f"{value_name(input_of(conv, 1))} is float")
