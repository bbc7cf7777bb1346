"""Where to quantize a residual graph, for TensorRT and for ONNX Runtime on a CPU; graph structure only, no values."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

__all__ = [
    "Point", "calibrated_tensors", "conv_depths", "onnxruntime_float_convs", "onnxruntime_values", "range_source",
    "skip_index", "tensorrt_points",
]  # fmt: skip

TAKEN_TOGETHER = 4  # input channels that ONNX Runtime's kernels for integer Convs read at a time
MIN_CHANNELS = 32  # of a BN that is faster in integers; measured: with 16 it takes as long as in float


@dataclass(frozen=True, slots=True)
class Point:
    """One input of one node that takes the quantized and dequantized tensor; names are those of the fp32 graph."""

    tensor: str
    node: str
    index: int


def tensorrt_points(graph: ir.Graph, float_convs: Collection[str] = ()) -> list[Point]:
    """The placement that TensorRT fuses in a residual net (its Q/DQ rules; ModelOpt 0.47 does the same).

    On the data input of every Conv, on the input of a MaxPool, and on the skip input of every residual sum; nothing
    between a Conv and its ReLU, and nothing on the other input of a sum. The pooled features and the classifier stay in
    float (entropy calibration clips the classifier's input to a small part of its range).

    The Convs named in `float_convs` stay in float, with the skips of the sums that they write and a MaxPool that feeds
    only them.
    """
    depths = conv_depths(graph)
    points = []
    for node in graph:
        if node.op_type == "Conv":
            inputs = [] if node.name in float_convs else [0]
        elif node.op_type == "MaxPool":
            inputs = [] if all(use.node.name in float_convs for use in node.outputs[0].uses()) else [0]
        elif _is_sum(node):
            skip = skip_index(node, depths)
            inputs = [] if _made_by(node.inputs[1 - skip], float_convs) else [skip]
        else:
            inputs = []
        points += [_point(node, index) for index in inputs]
    return points


def onnxruntime_values(graph: ir.Graph) -> list[str]:
    """The tensors to quantize for ONNX Runtime's CPU kernels, each for all of its users.

    QLinearConv needs its output quantized too, after the ReLU if there is one. A sum is computed in integers if ReLU
    and Conv follow (post-activation nets), or BN, ReLU and Conv with a BN wide enough to be faster in integers
    (`integer_norms.py`). Other sums before a BN stay in float, with their skips: quantizing them costs accuracy and
    saves next to nothing. The Convs of `onnxruntime_float_convs` stay in float.
    """
    values: dict[str, None] = {}
    float_convs = onnxruntime_float_convs(graph)
    for node in graph:
        if node.op_type in {"Conv", "MaxPool"} and node.name not in float_convs:
            values[_name(node.inputs[0])] = None
            values[_name(_activated(node))] = None
        elif _is_sum(node) and _is_integer_sum(node):
            values.update(dict.fromkeys(_name(value) for value in node.inputs))
            values[_name(_activated(node))] = None
    return list(values)


def onnxruntime_float_convs(graph: ir.Graph) -> list[str]:
    """The Convs that are faster in float on ONNX Runtime's CPU provider: they read the images' three channels.

    Its integer kernels take input channels four at a time; for others it copies the input of every output position,
    which takes three times as long as the whole Conv in float. A Conv before a MaxPool is an integer one all the same:
    after a float Conv the MaxPool would run in another layout, which costs more than the Conv saves.
    """
    return [
        node.name or ""
        for node in graph
        if node.op_type == "Conv"
        and _shape(node.inputs[1])[1] % TAKEN_TOGETHER
        and not any(use.node.op_type == "MaxPool" for use in _activated(node).uses())
    ]


def calibrated_tensors(graph: ir.Graph) -> list[str]:
    """The tensors whose range either placement needs."""
    names = dict.fromkeys([*(point.tensor for point in tensorrt_points(graph)), *onnxruntime_values(graph)])
    return list(dict.fromkeys(range_source(graph, name) for name in names))


def range_source(graph: ir.Graph, tensor: str) -> str:
    """The tensor whose range `tensor` uses: itself, but the input for a MaxPool's output.

    Both have the same scale then, so that the MaxPool stays an integer operation.
    """
    for value in _values(graph):
        producer = value.producer()
        if value.name == tensor and producer is not None and producer.op_type == "MaxPool":
            return range_source(graph, _name(producer.inputs[0]))
    return tensor


def conv_depths(nodes: Iterable[ir.Node]) -> dict[ir.Value | None, int]:
    """For each tensor, the largest number of Convs on a path from the input to it; `nodes` in topological order."""
    depths: dict[ir.Value | None, int] = {}
    for node in nodes:
        depth = max((depths.get(value, 0) for value in node.inputs), default=0) + (node.op_type == "Conv")
        depths.update(dict.fromkeys(node.outputs, depth))
    return depths


def skip_index(add: ir.Node, depths: Mapping[ir.Value | None, int]) -> int:
    """The skip of a sum: the input with fewer Convs before it, the identity or the Conv of a downsampling skip."""
    first, second = (depths.get(value, 0) for value in add.inputs)
    return 0 if first < second else 1


def _made_by(value: ir.Value | None, convs: Collection[str]) -> bool:
    producer = value.producer() if value is not None else None
    return producer is not None and producer.name in convs


def _activated(node: ir.Node) -> ir.Value:
    """The node's output, or that of the ReLU which is its only user."""
    output = node.outputs[0]
    uses = [*output.uses()]
    if len(uses) == 1 and uses[0].node.op_type == "Relu":
        return uses[0].node.outputs[0]
    return output


def _is_sum(node: ir.Node) -> bool:
    """Whether it is a residual sum, and not the addition of a bias."""
    return node.op_type == "Add" and all(value is not None and value.const_value is None for value in node.inputs)


def _is_integer_sum(add: ir.Node) -> bool:
    activated = _activated(add)
    if activated is not add.outputs[0]:
        return _feeds_conv(activated)
    norms = [use.node for use in activated.uses() if use.node.op_type == "BatchNormalization"]
    wide = [norm for norm in norms if _shape(norm.inputs[1])[0] >= MIN_CHANNELS]
    return any(_feeds_conv(_activated(norm)) for norm in wide)


def _feeds_conv(value: ir.Value) -> bool:
    return any(use.node.op_type == "Conv" for use in value.uses())


def _shape(parameter: ir.Value | None) -> Sequence[int]:
    assert parameter is not None
    assert parameter.const_value is not None
    return parameter.const_value.shape.numpy()


def _point(node: ir.Node, index: int) -> Point:
    return Point(_name(node.inputs[index]), node.name or "", index)


def _name(value: ir.Value | None) -> str:
    assert value is not None
    return value.name or ""


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    for node in graph:
        yield from node.outputs
