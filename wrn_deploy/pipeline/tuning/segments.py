"""Divides a graph where a single tensor connects its parts, so that graphs that differ in one part share the others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from wrn_deploy.graph import is_stored, value_name

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["compute_in_fp32", "divide", "find_cuts"]


def find_cuts(graph: ir.Graph) -> list[str]:
    """The tensors to divide the graph at, in order: each part between two of them has a Conv, or several if none cuts.

    A tensor cuts if all that is computed after it depends on the images through it alone, as the sum at the end of a
    residual block. Of several between two Convs the last one is taken, so that what a runtime computes within a Conv
    stays with it. The output of a MaxPool never cuts: whether it is quantized depends on the Convs behind it.
    """
    last_use = {value: index for index, node in enumerate(graph) for value in node.inputs if value is not None}
    live = set(graph.inputs)
    cuts: list[str] = []
    candidate: str | None = None
    has_conv = False
    for index, node in enumerate(graph):
        if node.op_type == "Conv" and candidate is not None:
            cuts.append(candidate)
            candidate, has_conv = None, False
        has_conv = has_conv or node.op_type == "Conv"
        live = {value for value in (*live, *node.outputs) if last_use.get(value, -1) > index}
        if len(live) == 1 and has_conv and node.op_type != "MaxPool" and live == {*node.outputs}:
            candidate = value_name(node.outputs[0])
    return cuts


def divide(model: ir.Model, cuts: Sequence[str]) -> list[ir.Model]:
    """The parts of the model between these tensors, in order; they share the model's arrays, but no nodes."""
    import onnx_ir as ir

    ends = [value_name(model.graph.inputs[0]), *cuts, value_name(model.graph.outputs[0])]
    return [
        ir.Model(ir.convenience.extract(model.graph, [start], [end]), ir_version=model.ir_version)
        for start, end in pairwise(ends)
    ]


def compute_in_fp32(model: ir.Model) -> ir.Model:
    """Makes the fp16 graph compute in fp32 with its rounded weights and scales, in place, and returns it.

    The difference to fp16 arithmetic is far below a step of int8. ONNX Runtime has no fp16 kernels for most CPUs: it
    converts the operands and the result of each node, which takes up to twice as long.
    """
    import onnx_ir as ir

    single = ir.DataType.FLOAT
    for name, value in model.graph.initializers.items():
        if value.dtype == ir.DataType.FLOAT16 and value.const_value is not None:
            value.const_value = ir.Tensor(value.const_value.numpy().astype(np.float32), name=name)
            value.type = ir.TensorType(single)
    for value in (*model.graph.inputs, *(made for node in model.graph for made in node.outputs)):
        if value.dtype == ir.DataType.FLOAT16 and not is_stored(value):
            value.type = ir.TensorType(single)
    for node in model.graph:
        if node.op_type == "Cast" and node.attributes.get_int("to", 0) == ir.DataType.FLOAT16:
            node.attributes["to"] = ir.AttrInt64("to", single)
    return model
