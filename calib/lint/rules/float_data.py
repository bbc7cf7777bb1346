"""The data of a Conv is quantized where its weights are.

NVIDIA, "Explicit Quantization": "Quantize all inputs of weighted operations". ONNX Runtime forms QLinearConv under
the same condition. An operator between a DQ and the Conv makes the data float again.
"""

from __future__ import annotations

from collections.abc import Iterator

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity
from wrn_deploy.calib.lint.walk import input_of, name_of, producer, quantized_data, quantized_weights, value_name

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ114",
    severity=Severity.ERROR,
    title="a Conv has quantized weights and float data",
    cost="It runs in float: the quantized weights cost accuracy and give no speed.",
    mend="Put Q/DQ directly on its data, or leave its weights in float.",
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields the Convs whose weights alone are quantized."""
    for conv in facts.convs:
        if quantized_weights(conv) and not quantized_data(conv):
            made = producer(input_of(conv, 0))
            by = f", made by {made.op_type} {name_of(made)}" if made is not None else ""
            yield Place(name_of(conv), f"{value_name(input_of(conv, 0))} is float{by}")
