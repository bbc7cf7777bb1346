"""Rules 4xx: the rest of the graph. To add one, add a check and its entry in RULES."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Place, Rule, Severity, Target
from wrn_deploy.calib.lint.walk import at
from wrn_deploy.graph import DEQUANTIZE, QUANTIZE, input_of, name_of, type_of, users

__all__ = ["RULES"]

FLOAT, HALF, HALVES = ir.DataType.FLOAT, ir.DataType.FLOAT16, (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
INTEGER_OPERATORS = (
    "ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearAdd", "QLinearConv", "QLinearMatMul",
)  # fmt: skip
CONVERSIONS = ("Cast", QUANTIZE, DEQUANTIZE)  # these convert and do not compute


def fp32_island(facts: GraphFacts) -> Iterator[Place]:
    """Nodes of an fp16 graph in fp32, between a Cast from fp16 and a Cast to fp16.

    TensorRT computes a strongly typed network as it is written, so each Cast is a conversion in memory. Tools for
    automatic mixed precision leave such parts.
    """
    if facts.float_type is not HALF:
        return
    from_half = [node for node in facts.of("Cast") if facts.type_of(input_of(node, 0)) is HALF]
    reached = {value for node in from_half for value in node.outputs if facts.type_of(value) is FLOAT}
    for node in facts.nodes:
        if node.op_type in CONVERSIONS or not any(value in reached for value in node.inputs):
            continue
        reached |= {value for value in node.outputs if facts.type_of(value) is FLOAT}
        if any(value in reached and _reaches_half(facts, value) for value in node.outputs):
            yield at(node, f"{node.op_type} in fp32")


def _reaches_half(facts: GraphFacts, value: ir.Value) -> bool:
    """Whether a Cast to fp16 follows the value before any Q/DQ."""
    seen, waiting = set[ir.Value](), [value]
    while waiting:
        for node in users(waiting.pop()):
            if node.op_type == "Cast" and facts.type_of(node.outputs[0]) is HALF:
                return True
            if node.op_type not in CONVERSIONS:
                waiting.extend(output for output in node.outputs if output not in seen)
                seen.update(node.outputs)
    return False


def fp32_float_part(facts: GraphFacts) -> Iterator[Place]:
    """The graph, if most of its Convs output fp32.

    TensorRT runs it in fp32 (or TF32) then: a strongly typed network, the only kind in TensorRT 11, has no flag that
    changes that.
    """
    if facts.quantizers and facts.float_type is FLOAT:
        yield Place("", f"the outputs of most of its {len(facts.convs)} Convs are float32")


def old_opset(facts: GraphFacts) -> Iterator[Place]:
    """The graph, with the number of its Q/DQ in fp16, if its opset is below 19.

    QuantizeLinear takes float16 from opset 19 on; before, x and the scale are float32. ONNX's checker and ONNX Runtime
    refuse such a file; the parser of TensorRT-RTX 1.7 does not check.
    """
    half = [node for node in facts.qdq if type_of(input_of(node, 1)) in HALVES]
    if half and facts.opset < 19:
        count = f"{len(half)} of {len(facts.qdq)} Q/DQ are in fp16, as {name_of(half[0])}"
        yield Place("", f"opset {facts.opset}, and {count}")


def no_qdq(facts: GraphFacts) -> Iterator[Place]:
    """The graph, if it has neither Q/DQ nor integer operators.

    TensorRT 11 has no int8 flag and no calibrator, and ONNX Runtime never quantizes by itself.
    """
    if not facts.qdq and not facts.of(*INTEGER_OPERATORS):
        yield Place("", f"{len(facts.convs)} Convs in float")


def integer_operators(facts: GraphFacts) -> Iterator[Place]:
    """Operators on integers: TensorRT reads Q/DQ only.

    onnx/onnx-tensorrt #560: "No importer registered for op: QLinearConv". ONNX Runtime writes them in its QOperator
    format and with quantize_dynamic.
    """
    for node in facts.of(*INTEGER_OPERATORS):
        yield at(node, node.op_type)


RULES = (
    Rule(id="QDQ401", severity=Severity.WARNING, targets=(Target.TENSORRT,), check=fp32_island,
         title="nodes in fp32 between Casts in an fp16 graph",
         cost="Conversions on both sides, and arithmetic at half the speed.",
         fix="Compute them in fp16; BN after a Conv can be folded into it."),
    Rule(id="QDQ402", severity=Severity.WARNING, targets=(Target.TENSORRT,), check=fp32_float_part,
         title="the float part of the graph is in fp32",
         cost="What is not int8 (skips, sums, BN, pooling, the classifier) moves twice the bytes of fp16 and computes "
              "at half its speed or less.",
         fix="Insert the Q/DQ into the fp16 graph."),
    Rule(id="QDQ403", severity=Severity.ERROR, check=old_opset,
         title="Q/DQ have fp16 scales in an opset below 19",
         cost="The file is not valid ONNX: ONNX Runtime refuses it, and what a parser makes of it is not defined.",
         fix="Convert the graph to opset 19 or later before adding Q/DQ."),
    Rule(id="QDQ404", severity=Severity.ERROR, check=no_qdq,
         title="the graph has no Q/DQ",
         cost="Nothing runs in int8.",
         fix="Calibrate, which writes a graph with Q/DQ."),
    Rule(id="QDQ405", severity=Severity.ERROR, targets=(Target.TENSORRT,), check=integer_operators,
         title="the graph is quantized with integer operators",
         cost="TensorRT refuses the file.",
         fix="Quantize in the QDQ format; quantize_static: quant_format=QuantFormat.QDQ."),
)  # fmt: skip
