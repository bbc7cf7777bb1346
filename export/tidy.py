"""Gives an exported graph names that follow the network's own, and removes everything that is not the network."""

from __future__ import annotations

import onnx_ir as ir

from wrn_deploy import __version__

__all__ = ["tidy"]


def tidy(model: ir.Model) -> ir.Model:
    """Renames nodes and tensors after the weights they use, and drops paths, stack traces and notes; in place.

    Exported nodes carry absolute paths and stack traces in their metadata: without them two exports of the same weights
    are byte for byte equal, and no one's folders are published. A node and its output get the same name:
    `block1.0.conv1` for the Conv whose weights are `block1.0.conv1.weight`, `block1.0.conv1.relu` for the ReLU behind
    it, `block1.0.add` for the residual sum.
    """
    graph = model.graph
    graph.name = "wide_resnet"
    graph.metadata_props.clear()
    graph.doc_string = None
    model.metadata_props.clear()
    model.doc_string = None
    model.producer_name, model.producer_version, model.domain = "wrn-deploy", __version__, None
    outputs = set(graph.outputs)
    names: set[str] = {value.name or "" for value in graph.inputs}
    for node in graph:
        node.metadata_props.clear()
        node.doc_string = None
        node.name = _unused(_node_name(node), names)
        for value in node.outputs:
            value.metadata_props.clear()
            if value not in outputs:
                value.name = node.name
        _name_bias(graph, node)
    for value in (*graph.initializers.values(), *graph.inputs, *graph.outputs):
        value.metadata_props.clear()
        value.doc_string = None
    return model


def _node_name(node: ir.Node) -> str:
    first = node.inputs[0]
    source = first.producer() if first is not None else None
    before = (source.name or "") if source is not None else ""
    if node.op_type in ("Conv", "Gemm", "BatchNormalization"):
        weights = node.inputs[1]
        return ((weights.name or "") if weights is not None else "").removesuffix(".weight")
    if node.op_type == "Add":  # its first input comes from the last Conv of the block
        return f"{before.rpartition('.')[0]}.add"
    names = {"Relu": f"{before}.relu", "MaxPool": "maxpool", "ReduceMean": "avgpool"}
    return names.get(node.op_type, f"{before}.{node.op_type.lower()}")


def _name_bias(graph: ir.Graph, node: ir.Node) -> None:
    """The bias that folding made is called after its Conv."""
    if node.op_type != "Conv" or len(node.inputs) < 3:
        return
    bias = node.inputs[2]
    if bias is not None and bias.is_initializer() and bias.name != f"{node.name}.bias":
        graph.initializers.pop(bias.name or "")
        bias.name = f"{node.name}.bias"
        graph.initializers.add(bias)


def _unused(name: str, names: set[str]) -> str:
    unique, count = name, 1
    while unique in names:
        count += 1
        unique = f"{name}_{count}"
    names.add(unique)
    return unique
