"""Which tensors of a graph may share a factor for each channel, and rescaling a graph by such factors exactly."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.graph import input_of, is_fixed, is_sum, parameter, producer, value_name

__all__ = ["Factors", "bias_moves", "channel_classes", "own_parameter", "rescale", "shift"]

Factors = npt.NDArray[np.float64]  # one a channel, (C,)

# y(d x) = d y(x) for d > 0, channel by channel: what comes out has the factors of what goes in.
HOMOGENEOUS = frozenset({"Relu", "MaxPool", "AveragePool", "ReduceMean", "GlobalAveragePool", "Flatten"})
ABSORBING = frozenset({"Conv", "BatchNormalization", "Gemm"})  # take factors into their parameters, on either side


def channel_classes(graph: ir.Graph) -> dict[str, str]:
    """The class of each tensor that may be rescaled: tensors of one class must have the same factors.

    A ReLU, a pooling and a residual sum hand factors through; a Conv, a BN and a Gemm end them. What the graph takes
    and gives, and what any other operator touches, keeps its values and is left out.
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
        elif node.op_type in ABSORBING and _rescalable(node):
            root(output)
        else:
            fixed |= {*data, output}
    frozen = {root(name) for name in fixed}
    return {name: root(name) for name in list(parents) if root(name) not in frozen}


def rescale(graph: ir.Graph, factors: Mapping[str, Factors]) -> None:
    """Multiplies the channels of tensors by `factors` (by the name of the class); the graph computes the same.

    Conv weights (O, I, kh, kw) are multiplied by the output's factors and divided by the input's; of BN, gamma is, and
    beta and the running mean go along; its variance stays, since epsilon is added to it.
    """
    classes = channel_classes(graph)

    def of(value: ir.Value | None) -> Factors | None:
        return factors.get(classes.get(value_name(value), ""))

    for node in graph:
        if node.op_type not in ABSORBING:
            continue
        before, after = of(node.inputs[0]), of(node.outputs[0])
        scales = [(1, _output_shape(node), after, 1.0), (1, _input_shape(node), before, -1.0), (2, (-1,), after, 1.0)]
        if node.op_type == "BatchNormalization":
            scales.append((3, (-1,), before, 1.0))
        for index, shape, factor, power in scales:
            if factor is not None and input_of(node, index) is not None:
                own_parameter(graph, node, index, parameter(node, index) * (factor**power).reshape(shape))


def shift(graph: ir.Graph, shifts: Mapping[str, Factors]) -> None:
    """Subtracts `shifts` from the channels of sums and Convs (by tensor) that only BN and sums read; exact as well.

    BN gives it up in its running mean, Convs in their biases.
    """
    nodes = {value_name(node.outputs[0]): node for node in graph}
    for name, moved in bias_moves(graph, shifts).items():
        own_parameter(graph, nodes[name], 2, parameter(nodes[name], 2) + moved)
    for node in graph:
        if node.op_type == "BatchNormalization":
            away = shifts.get(value_name(node.inputs[0]))
            if away is not None:
                own_parameter(graph, node, 3, parameter(node, 3) - away)


def bias_moves(graph: ir.Graph, shifts: Mapping[str, Factors]) -> dict[str, Factors]:
    """What the outputs of Convs, by name, change by under `shift`.

    A shifted Conv gives up its shift. Under a sum, the Conv that is not shifted itself gives up what the sum does, and
    takes back what was subtracted from the skip.
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
                moves[
                    next(name for name, value in zip(names, node.inputs, strict=True) if _is_free_conv(value, shifts))
                ] = total
    return moves


def own_parameter(graph: ir.Graph, node: ir.Node, index: int, values: npt.NDArray[np.float64]) -> None:
    """Gives the node new values for a constant input, in float32 and of its own: others may share the old one."""
    parts = {1: "weight", 2: "bias", 3: "running_mean"}
    name, old = f"{node.name}.{parts[index]}", node.inputs[index]
    fresh = ir.val(name, const_value=ir.Tensor(values.astype(np.float32), name=name))
    node.replace_input_with(index, fresh)
    if old is not None and old.name is not None and not old.uses():
        graph.initializers.pop(old.name, None)
    elif name in graph.initializers:  # others go on using the value that has this name
        kept = graph.initializers.pop(name)
        kept.name = f"{name}.shared"
        graph.initializers.add(kept)
    graph.initializers.add(fresh)


def _is_free_conv(value: ir.Value | None, shifts: Mapping[str, Factors]) -> bool:
    return producer(value, "Conv") is not None and value_name(value) not in shifts


def _rescalable(node: ir.Node) -> bool:
    if node.op_type == "Gemm":
        return node.attributes.get_int("transB", 0) == 1 and node.attributes.get_int("transA", 0) == 0
    return node.op_type != "Conv" or node.attributes.get_int("group", 1) == 1


def _output_shape(node: ir.Node) -> tuple[int, ...]:
    return {"Conv": (-1, 1, 1, 1), "Gemm": (-1, 1), "BatchNormalization": (-1,)}[node.op_type]


def _input_shape(node: ir.Node) -> tuple[int, ...]:
    return {"Conv": (1, -1, 1, 1), "Gemm": (1, -1), "BatchNormalization": (-1,)}[node.op_type]
