"""Finds and names the nodes of whitening in an exported graph; see models/whitening.py."""

from __future__ import annotations

import onnx_ir as ir

__all__ = ["contrast_nodes", "whitening_names"]

PREFIX = "whitening"
MATRIX = f"{PREFIX}.matrix"


def contrast_nodes(graph: ir.Graph) -> list[ir.Node]:
    """From the images to the input of the matrix product, in the order of the graph; none without whitening."""
    product = _product(graph)
    source = product.inputs[0].producer() if product is not None and product.inputs[0] is not None else None
    if source is None:
        return []
    found, waiting = {source}, [source]
    while waiting:
        makers = [value.producer() for value in waiting.pop().inputs if value is not None]
        fresh = [node for node in makers if node is not None and node not in found]
        found.update(fresh)
        waiting += fresh
    return [node for node in graph if node in found]


def whitening_names(graph: ir.Graph) -> dict[ir.Node, str]:
    """The nodes' names: `whitening.product` for the matrix product, `whitening` for the Reshape to images."""
    product = _product(graph)
    if product is None:
        return {}
    names = {node: f"{PREFIX}.{node.op_type.lower()}" for node in contrast_nodes(graph)}
    names[product] = f"{PREFIX}.product"
    users = [use.node for use in product.outputs[0].uses()]
    return names | {node: PREFIX for node in users if node.op_type == "Reshape"}


def _product(graph: ir.Graph) -> ir.Node | None:
    for node in graph:
        weights = node.inputs[1] if node.op_type == "MatMul" else None
        if weights is not None and (weights.name or "").startswith(MATRIX):
            return node
    return None
