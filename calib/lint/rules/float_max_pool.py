"""A MaxPool among int8 Convs should work on int8.

NVIDIA, "Explicit Quantization": MaxPool commutes with Q and DQ, so that TensorRT moves a Q that is its only user in
front of it. Where another user reads the float output it cannot.
"""

from __future__ import annotations

from collections.abc import Iterator

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import QUANTIZE, input_of, is_dequantized, name_of, users, value_name

__all__ = ["RULE", "check"]

RULE = Rule(
    id="QDQ104",
    severity=Severity.WARNING,
    title="a MaxPool next to int8 Convs works on floats",
    cost="It reads and writes tensors of twice the size, often the network's largest.",
    mend="Quantize the input of the MaxPool, with the same scale as its output.",
    targets=(Target.TENSORRT,),
)


def check(facts: GraphFacts) -> Iterator[Place]:
    """Yields each MaxPool with a float input whose output is not read by one Q alone.

    One that only Convs read which are float on purpose is float, too.
    """
    for pool in facts.of("MaxPool"):
        readers = users(pool.outputs[0])
        movable = len(readers) == 1 and readers[0].op_type == QUANTIZE
        kept = all(node.op_type == "Conv" and name_of(node) in facts.kept_float for node in readers)
        if facts.int8_convs and not movable and not kept and not is_dequantized(input_of(pool, 0)):
            yield Place(name_of(pool), f"{value_name(input_of(pool, 0))} is float")
