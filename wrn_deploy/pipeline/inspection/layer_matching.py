"""Which layer of the graph a node belongs to that ONNX Runtime ran: it fuses, converts and renames nodes."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from wrn_deploy.pipeline.inspection.node_times import Measured, Timed

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["BETWEEN", "find_homes", "name_nodes"]

BETWEEN = "between: "  # what rows start with that are no layers but all other nodes of one kind
CAST = "InsertedPrecisionFreeCast_"  # before the name of a node that ONNX Runtime runs in another float type
SUFFIX = re.compile(r"_(?:nchwc|token_\d+|bn|mul)$")  # behind the name of one that it runs in another layout
MULTIPLYING = re.compile(r"Conv|Gemm|MatMul")
FUSED = ("Add", "Clip", "HardSigmoid", "LeakyRelu", "Relu", "Sigmoid", "Sum", "Tanh")  # what it computes within a Conv


def name_nodes(model: ir.Model) -> ir.Model:
    """Gives nodes without a name that of their output, as linting calls them; the model itself."""
    for node in model.graph.all_nodes():
        node.name = node.name or node.outputs[0].name
    return model


def find_homes(
    models: tuple[ir.Model, ir.Model], measured: tuple[Measured, Measured]
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """For A and for B: the row of each name in the measurement, and of the Q/DQ that feed the layers of B.

    A row is a Conv, Gemm or MatMul of either graph, or "between: " and the kind of all other nodes.
    """
    from wrn_deploy.engines.promise import expected_precisions

    layers = {node.name for model in models for node in expected_precisions(model)}
    first, second = (_homes(model, parts.parts, layers) for model, parts in zip(models, measured, strict=True))
    feeding = {name: node.name for node in expected_precisions(models[1]) for name in node.around}
    return first, {**feeding, **second}


def _homes(model: ir.Model, parts: Collection[Timed], layers: Collection[str]) -> dict[str, str]:
    nodes = {node.name or "": node for node in model.graph}
    homes = {part.name: base for part in parts if (base := _base(part, nodes)) in layers and part.kind != "Cast"}
    taken = set(homes.values())
    for part in parts:
        if part.name not in homes:
            fused = _fused_into(nodes.get(_base(part, nodes)), layers, taken) if _multiplies(part) else None
            homes[part.name] = fused or BETWEEN + _kind(part, nodes)
    return homes


def _multiplies(part: Timed) -> bool:
    return MULTIPLYING.search(part.kind) is not None


def _base(part: Timed, nodes: Collection[str]) -> str:
    """The name of the graph's node that this one was made of."""
    name = part.name
    if name.startswith(CAST) and part.kind != "Cast":
        name = name.removeprefix(CAST)
    while name not in nodes and SUFFIX.search(name):
        name = SUFFIX.sub("", name)
    return name


def _kind(part: Timed, nodes: Mapping[str, ir.Node]) -> str:
    """The graph's operator, and ONNX Runtime's for nodes of its own; a BN that it runs as a Conv is a BN."""
    node = nodes.get(_base(part, nodes))
    return node.op_type if node is not None and _multiplies(part) else part.kind


def _fused_into(node: ir.Node | None, layers: Collection[str], taken: Collection[str]) -> str | None:
    """The layer before an activation or sum that was computed with it: the nearest one that did not run by itself."""
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
