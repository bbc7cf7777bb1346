"""Matches the nodes that ONNX Runtime ran to layers of the graph: it fuses, converts and renames nodes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from wrn_deploy.pipeline.inspection.node_times import NodeTime, RunTimes

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["BETWEEN", "match_layers", "name_nodes"]

BETWEEN = "between: "  # prefix of rows that are not a layer but all other nodes of one kind
CAST = "InsertedPrecisionFreeCast_"  # before the name of a node that ONNX Runtime runs in another float type
SUFFIX = re.compile(r"_(?:nchwc|token_\d+|bn|mul)$")  # behind the name of one that it runs in another layout
MULTIPLYING = re.compile(r"Conv|Gemm|MatMul")
FUSED = ("Add", "Clip", "HardSigmoid", "LeakyRelu", "Relu", "Sigmoid", "Sum", "Tanh")  # what it computes within a Conv


def name_nodes(model: ir.Model) -> ir.Model:
    """Names nameless nodes after their output, as lint does; returns the model itself."""
    for node in model.graph.all_nodes():
        node.name = node.name or node.outputs[0].name
    return model


def match_layers(
    models: tuple[ir.Model, ir.Model], measured: tuple[RunTimes, RunTimes]
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Finds, for A and for B, the row of each measured name; for B also the rows of the Q/DQ that feed its layers.

    A row is a Conv, Gemm or MatMul of either graph, or "between: " and the kind of all other nodes.
    """
    from wrn_deploy.engines.promise import expected_precisions

    layers = {node.name for model in models for node in expected_precisions(model)}
    first, second = (_match(model, parts.parts, layers) for model, parts in zip(models, measured, strict=True))
    feeding = {name: node.name for node in expected_precisions(models[1]) for name in node.around}
    return first, {**feeding, **second}


def _match(model: ir.Model, parts: Collection[NodeTime], layers: Collection[str]) -> dict[str, str]:
    nodes = {node.name or "": node for node in model.graph}
    rows_of = {part.name: base for part in parts if (base := _base(part, nodes)) in layers and part.kind != "Cast"}
    taken = set(rows_of.values())
    for part in parts:
        if part.name not in rows_of:
            fused = _fused_into(nodes.get(_base(part, nodes)), layers, taken) if _multiplies(part) else None
            rows_of[part.name] = fused or BETWEEN + _kind(part, nodes)
    return rows_of


def _multiplies(part: NodeTime) -> bool:
    return MULTIPLYING.search(part.kind) is not None


def _base(part: NodeTime, nodes: Collection[str]) -> str:
    """The name of the graph's node that this one was made from."""
    name = part.name
    if name.startswith(CAST) and part.kind != "Cast":
        name = name.removeprefix(CAST)
    while name not in nodes and SUFFIX.search(name):
        name = SUFFIX.sub("", name)
    return name


def _kind(part: NodeTime, nodes: Mapping[str, ir.Node]) -> str:
    """The graph's operator, and ONNX Runtime's for nodes of its own; a BN that it runs as a Conv is a BN."""
    node = nodes.get(_base(part, nodes))
    return node.op_type if node is not None and _multiplies(part) else part.kind


def _fused_into(node: ir.Node | None, layers: Collection[str], taken: Collection[str]) -> str | None:
    """The layer that an activation or sum was fused into: the nearest one before it that did not run by itself."""
    waiting = [node]
    for _ in range(4):
        before = [
            value.producer()
            for fused in waiting
            if fused is not None and fused.op_type in FUSED
            for value in fused.inputs
            if value is not None
        ]
        waiting = list(dict.fromkeys(before))
        for found in waiting:
            if found is not None and found.name in layers and found.name not in taken:
                return found.name
    return None
