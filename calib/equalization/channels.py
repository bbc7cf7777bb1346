"""Rescales and shifts the channels of a graph's tensors without changing its output: the rules of equalisation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.graph import input_of, is_fixed, is_sum, parameter, producer, value_name

__all__ = ["Factors", "bias_moves", "channel_classes", "own_parameter", "rescale", "shift"]

Factors = npt.NDArray[np.float64]  # one a channel, (C,)

# f(d x) = d f(x) for d > 0, channel by channel: the output has the factors of the input (Nagel et al.,
# arXiv:1906.04721, section 4.1, for ReLU).
HOMOGENEOUS = frozenset({"Relu", "MaxPool", "AveragePool", "ReduceMean", "GlobalAveragePool", "Flatten"})
# These take up factors in their parameters, on either side; the shapes of an output's and an input's factors beside
# the weights.
WEIGHTS = {"Conv": ((-1, 1, 1, 1), (1, -1, 1, 1)), "Gemm": ((-1, 1), (1, -1)), "BatchNormalization": ((-1,), (-1,))}


def channel_classes(graph: ir.Graph) -> dict[str, str]:
    """The class of each tensor that may be rescaled: tensors of one class must have the same factors.

    ReLU, poolings and residual sums pass factors on: their inputs and outputs are of one class (union-find). Conv, BN
    and Gemm end a class. A class that has an input or output of the graph, or a tensor of any other operator, is left
    out: its values stay.
    """
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        parents.setdefault(name, name)
        while parents[name] != name:
            name = parents[name]
        return name

    fixed = {value_name(value) for value in (*graph.inputs, *graph.outputs)}
    for node in graph:
        data = [value_name(value) for value in node.inputs if not is_fixed(value)]
        output = value_name(node.outputs[0])
        if node.op_type in HOMOGENEOUS or is_sum(node):
            for name in data:
                parents[root(name)] = root(output)
        elif node.op_type in WEIGHTS and _rescalable(node):
            root(output)
        else:
            fixed |= {*data, output}
    frozen = {root(name) for name in fixed}
    return {name: root(name) for name in list(parents) if root(name) not in frozen}


def rescale(graph: ir.Graph, factors: Mapping[str, Factors]) -> None:
    """Multiplies the channels of tensors by `factors` (by the name of the class); the graph computes the same.

    With d the factors of a node's input and e those of its output:
        Conv and Gemm: e (W x + b) = (e W / d) (d x) + e b,
        BN: e (gamma (x - mean) / s + beta) = (e gamma / d) (d x - d mean) / s + e beta, s = sqrt(variance + epsilon).
    The variance stays, since epsilon is added to it.
    """
    classes = channel_classes(graph)

    def of(value: ir.Value | None) -> Factors | None:
        return factors.get(classes.get(value_name(value), ""))

    for node in graph:
        if node.op_type not in WEIGHTS:
            continue
        before, after = of(node.inputs[0]), of(node.outputs[0])
        across_outputs, across_inputs = WEIGHTS[node.op_type]
        scales = [(1, across_outputs, after, 1.0), (1, across_inputs, before, -1.0), (2, (-1,), after, 1.0)]
        if node.op_type == "BatchNormalization":
            scales.append((3, (-1,), before, 1.0))
        for index, shape, factor, power in scales:
            if factor is not None and input_of(node, index) is not None:
                own_parameter(graph, node, index, parameter(node, index) * (factor**power).reshape(shape))


def shift(graph: ir.Graph, shifts: Mapping[str, Factors]) -> None:
    """Subtracts `shifts` from the channels of sums and Convs (by tensor) that only BN and sums read; exact as well.

    A Conv subtracts the shift from its bias, a BN that reads the tensor from its running mean.
    """
    nodes = {value_name(node.outputs[0]): node for node in graph}
    for name, moved in bias_moves(graph, shifts).items():
        own_parameter(graph, nodes[name], 2, parameter(nodes[name], 2) + moved)
    for node in graph:
        shifted = shifts.get(value_name(node.inputs[0])) if node.op_type == "BatchNormalization" else None
        if shifted is not None:
            own_parameter(graph, node, 3, parameter(node, 3) - shifted)


def bias_moves(graph: ir.Graph, shifts: Mapping[str, Factors]) -> dict[str, Factors]:
    """How much `shift` adds to the outputs of Convs, by name.

    A Conv shifted by m gets -m. A sum shifted by m, whose inputs are shifted by m_1 and m_2, needs m_1 + m_2 - m more:
    the Conv among its inputs that is not shifted itself gets it.
    """
    moves: dict[str, Factors] = {}
    for node in graph:
        output = value_name(node.outputs[0])
        if node.op_type == "Conv" and output in shifts:
            moves[output] = -shifts[output]
        elif node.op_type == "Add":
            names = [value_name(value) for value in node.inputs]
            total = sum((shifts[name] for name in names if name in shifts), start=np.zeros(1))
            total = total - shifts.get(output, np.zeros(1))
            if np.any(total):
                free = (value for value in node.inputs if producer(value, "Conv") and value_name(value) not in shifts)
                moves[value_name(next(free))] = total
    return moves


def own_parameter(graph: ir.Graph, node: ir.Node, index: int, values: npt.NDArray[np.float64]) -> None:
    """Replaces a constant input of the node by new values in float32; other nodes that share the old one keep it."""
    parts = {1: "weight", 2: "bias", 3: "running_mean"}
    name, old = f"{node.name}.{parts[index]}", node.inputs[index]
    fresh = ir.val(name, const_value=ir.Tensor(values.astype(np.float32), name=name))
    node.replace_input_with(index, fresh)
    if old is not None and old.name is not None and not old.uses():
        graph.initializers.pop(old.name, None)
    elif name in graph.initializers:  # other nodes keep the value of this name, under another one
        kept = graph.initializers.pop(name)
        kept.name = f"{name}.shared"
        graph.initializers.add(kept)
    graph.initializers.add(fresh)


def _rescalable(node: ir.Node) -> bool:
    transposed = node.attributes.get_int("transB", 0) == 1 and node.attributes.get_int("transA", 0) == 0
    return transposed if node.op_type == "Gemm" else node.attributes.get_int("group", 1) == 1
