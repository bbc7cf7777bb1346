"""What the rules ask about a whole Q/DQ graph: its nodes by kind, float types, depths and costs."""

from __future__ import annotations

import json
import math
from functools import cached_property

import onnx_ir as ir

from wrn_deploy.calib.lint.walk import (
    DEQUANTIZE,
    QUANTIZE,
    codes_type,
    input_of,
    is_fixed,
    is_int8,
    shape_of,
    value_name,
)
from wrn_deploy.calib.placement import conv_depths, skip_index
from wrn_deploy.calib.writing.for_tensorrt import FLOAT_CONVS

__all__ = ["KEPT_FLOAT", "GraphFacts"]

KEPT_FLOAT = FLOAT_CONVS


class GraphFacts:
    """A graph, subgraphs included, and what follows from its structure; the graph must not change meanwhile."""

    def __init__(self, model: ir.Model) -> None:
        self.nodes = list(model.graph.all_nodes())
        self.opset = model.opset_imports.get("") or model.graph.opset_imports.get("") or 0
        self.kept_float = _kept_float(model)
        self.quantizers = self.of(QUANTIZE)
        self.dequantizers = self.of(DEQUANTIZE)
        self.convs = self.of("Conv")

    def of(self, *op_types: str) -> list[ir.Node]:
        """The nodes of these kinds, in the graph's order."""
        return [node for node in self.nodes if node.op_type in op_types]

    @property
    def has_fp8(self) -> bool:
        """Whether there are codes of float8e4m3fn, which no rule knows."""
        return any(codes_type(node) is ir.DataType.FLOAT8E4M3FN for node in (*self.quantizers, *self.dequantizers))

    @property
    def activation_quantizers(self) -> list[ir.Node]:
        """The Q of tensors, not of weights."""
        return [node for node in self.quantizers if not is_fixed(input_of(node, 0))]

    @cached_property
    def sums(self) -> list[ir.Node]:
        """The residual sums: an Add of a constant is a bias or a part of BN."""
        return [node for node in self.of("Add") if not any(map(is_fixed, node.inputs))]

    @cached_property
    def depths(self) -> dict[ir.Value | None, int]:
        """For each tensor, the largest number of Convs on a way from the input to it."""
        return conv_depths(self.nodes)

    def skip_of(self, add: ir.Node) -> ir.Value | None:
        """The input of a sum with fewer Convs behind it: the identity, or the one Conv of a downsampling skip."""
        return add.inputs[skip_index(add, self.depths)]

    @cached_property
    def types(self) -> dict[ir.Value | None, ir.DataType | None]:
        """The type of each tensor, worked out where the file does not say it."""
        types: dict[ir.Value | None, ir.DataType | None] = {}
        for node in self.nodes:
            before = [types.get(value, value.dtype) for value in node.inputs if value is not None]
            for value in node.outputs:
                types[value] = value.dtype or _type_made(node, before)
        return types

    @cached_property
    def float_type(self) -> ir.DataType | None:
        """The float type of most Convs' outputs, which the float part of the graph is in; None without Convs."""
        found = [self.types[conv.outputs[0]] for conv in self.convs]
        return max(found, key=found.count) if found else None

    @cached_property
    def macs(self) -> dict[str, int]:
        """Multiply-accumulates of each Conv for one image, by the name of its output; empty if one is not known."""
        found = {value_name(conv.outputs[0]): _macs(conv) for conv in self.convs}
        return {name: macs for name, macs in found.items() if macs} if all(found.values()) else {}

    def macs_share(self, convs: list[ir.Node]) -> float | None:
        """The share of `convs` in all Convs' multiply-accumulates; None where shapes are not known."""
        total = sum(self.macs.values())
        return sum(self.macs[value_name(conv.outputs[0])] for conv in convs) / total if total else None

    @property
    def int8_convs(self) -> list[ir.Node]:
        """The Convs whose data and weights are both quantized."""
        return [conv for conv in self.convs if is_int8(conv)]


def _kept_float(model: ir.Model) -> frozenset[str]:
    try:
        names = json.loads(model.metadata_props.get(KEPT_FLOAT, "[]"))
    except ValueError:
        names = []  # another tool's key of the same name
    return frozenset(map(str, names)) if isinstance(names, list) else frozenset()


def _type_made(node: ir.Node, before: list[ir.DataType | None]) -> ir.DataType | None:
    if node.op_type == QUANTIZE:
        return codes_type(node)
    if node.op_type == "Cast":
        return ir.DataType(node.attributes.get_int("to", 0))
    known = before[1:] if node.op_type == DEQUANTIZE else before  # a DQ's output has the type of its scale
    return known[0] if known else None


def _macs(conv: ir.Node) -> int | None:
    """Weights x positions of the output: each is multiplied once for each position."""
    weights, output = shape_of(input_of(conv, 1)), shape_of(conv.outputs[0])
    if weights is None or output is None:
        return None
    sizes = [*weights, *output[2:]]
    known = [size for size in sizes if size is not None]
    return math.prod(known) if len(known) == len(sizes) else None
