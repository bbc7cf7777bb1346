"""PyTorch to fp32 ONNX: dynamic batch, BN folded into Convs, names that follow the network's, clean metadata."""

from __future__ import annotations

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator

import onnx_ir as ir
import torch
from torch import nn

from wrn_deploy.errors import DeployError
from wrn_deploy.export.whitening import whitening_names
from wrn_deploy.spec import ModelSpec
from wrn_deploy.version import __version__

__all__ = ["OPSET", "export_graph", "tidy"]

# The newest opset that TensorRT 10.12 parses in full; Q/DQ with fp16 scales need 19.
OPSET = 20

# The input that names a node. The export merges tensors of equal values: before training all factors of BN are 1, and
# all means and biases 0, so a name may be another node's.
WEIGHTS = {"Conv": 1, "Gemm": 1, "BatchNormalization": 3}
SUFFIXES = (".weight", ".bias", ".running_mean", ".running_var")


def export_graph(network: nn.Module, spec: ModelSpec) -> ir.Model:
    """Exports the network in inference mode, without changing it.

    The exporter folds each BN that directly follows a Conv into it; `check.py` checks its graphs, since it has written
    wrong ones (pytorch #169178, #166797, #157621).

    Returns:
        A graph images (batch, 3, H, W) float32 -> logits (batch, classes) float32.
    """
    network, spec = copy.deepcopy(network).cpu().eval(), spec.core
    images = torch.zeros(2, *spec.input.shape)  # two: with one, the exporter takes the batch for a constant
    with _quiet():
        program = torch.onnx.export(
            network,
            (images,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=[spec.input.name],
            output_names=[spec.output.name],
            opset_version=OPSET,
            verbose=False,
        )
    if program is None:
        raise DeployError(f"torch.onnx.export returned nothing for {spec.name}: expected a graph; try another torch")
    return tidy(program.model)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides the exporter's notes on absent torchvision operators and its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)


def tidy(model: ir.Model) -> ir.Model:
    """Renames nodes and tensors after the weights they use, and drops paths, stack traces and notes; in place.

    Exported nodes carry absolute paths and stack traces: without them two exports of the same weights are byte for byte
    equal, and no one's folders are published. A node and its output get the same name: `block1.0.conv1` for the Conv
    with the weights `block1.0.conv1.weight`, `block1.0.conv1.relu` for its ReLU, `block1.0.add` for the residual sum.
    """
    graph = model.graph
    graph.name = "wide_resnet"
    graph.metadata_props.clear()
    graph.doc_string = None
    model.metadata_props.clear()
    model.doc_string = None
    model.producer_name, model.producer_version, model.domain = "wrn-deploy", __version__, None
    outputs, whitening = set(graph.outputs), whitening_names(graph)
    names: set[str] = {value.name or "" for value in graph.inputs}
    for node in graph:
        node.metadata_props.clear()
        node.doc_string = None
        node.name = _unused(whitening.get(node) or _node_name(node), names)
        for index, value in enumerate(node.outputs):
            value.metadata_props.clear()
            if value not in outputs:
                value.name = f"{node.name}.{index}" if index else node.name
        _name_bias(graph, node)
    for value in (*graph.initializers.values(), *graph.inputs, *graph.outputs):
        value.metadata_props.clear()
        value.doc_string = None
    return model


def _node_name(node: ir.Node) -> str:
    if node.op_type in WEIGHTS:
        weights = node.inputs[WEIGHTS[node.op_type]]
        name = (weights.name or "") if weights is not None else ""
        return next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)
    first = node.inputs[0] if node.inputs else None
    before = (first.name or "") if first is not None else ""
    if node.op_type == "Add":  # its first input comes from the last Conv of the block
        before = before.rpartition(".")[0]
    names = {"MaxPool": "maxpool", "ReduceMean": "avgpool"}
    return names.get(node.op_type, f"{before}.{node.op_type.lower()}".removeprefix("."))


def _name_bias(graph: ir.Graph, node: ir.Node) -> None:
    """Names the bias that folding made after its Conv; copies one that several Convs share, as before training."""
    if node.op_type != "Conv" or len(node.inputs) < 3:
        return
    bias = node.inputs[2]
    if bias is None or not bias.is_initializer() or bias.name == f"{node.name}.bias":
        return
    own = ir.Value(name=f"{node.name}.bias", shape=bias.shape, type=bias.type, const_value=bias.const_value)
    graph.initializers.add(own)
    node.replace_input_with(2, own)
    if not bias.uses():
        graph.initializers.pop(bias.name or "")


def _unused(name: str, names: set[str]) -> str:
    unique, count = name, 1
    while unique in names:
        count += 1
        unique = f"{name}_{count}"
    names.add(unique)
    return unique
