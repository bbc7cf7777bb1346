"""Where to quantize a residual graph, for TensorRT and for ONNX Runtime on a CPU; graph structure only, no values."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from wrn_deploy.graph import activated, is_sum, producer, shape_of, size_of, users, value_name

__all__ = [
    "Point", "calibrated_tensors", "conv_depths", "conv_inputs", "is_normalized", "onnxruntime_float_convs",
    "onnxruntime_values", "quantized_tensors", "range_source", "skip_index", "skip_points", "tensorrt_points",
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

    On the data input of every Conv, on the input of a MaxPool, and on the skip input of a residual sum; nothing between
    a Conv and its ReLU, and nothing on the other input of a sum. The pooled features and the classifier stay in float
    (entropy calibration clips the classifier's input to a small part of its range).

    A sum that BN reads, as in a pre-activation net, is float for BN whatever its skip is. So its skip stays in float
    too: TensorRT-RTX makes the same kernels of both, and quantizing the stream anew for every skip was most of the
    error of a deep narrow net.

    The Convs named in `float_convs` stay in float, with the skips of the sums that they write and a MaxPool that feeds
    only them.
    """
    depths = conv_depths(graph)
    points = []
    for node in graph:
        if node.op_type == "Conv":
            inputs = [] if node.name in float_convs else [0]
        elif node.op_type == "MaxPool":
            inputs = [] if all(user.name in float_convs for user in users(node.outputs[0])) else [0]
        elif is_sum(node) and not is_normalized(node):
            skip = skip_index(node, depths)
            last = producer(node.inputs[1 - skip])
            inputs = [] if last is not None and last.name in float_convs else [skip]
        else:
            inputs = []
        points += [_point(node, index) for index in inputs]
    return points


def skip_points(graph: ir.Graph) -> list[Point]:
    """The skip input of every residual sum, quantized by a placement or not."""
    depths = conv_depths(graph)
    return [_point(node, skip_index(node, depths)) for node in graph if is_sum(node)]


def is_normalized(add: ir.Node) -> bool:
    """Whether BN reads the sum, as in a pre-activation net."""
    return any(user.op_type == "BatchNormalization" for user in users(add.outputs[0]))


def onnxruntime_values(graph: ir.Graph) -> list[str]:
    """The tensors to quantize for ONNX Runtime's CPU kernels, each for all of its users.

    QLinearConv needs its output quantized too, after the ReLU if there is one. A sum is computed in integers if ReLU
    and Conv follow (post-activation nets), or BN, ReLU and Conv with a BN wide enough to be faster in integers
    (`integer_norms`). Other sums before a BN stay in float, with their skips: quantizing them costs accuracy and
    saves next to nothing. The Convs of `onnxruntime_float_convs` stay in float.
    """
    values: dict[str, None] = {}
    float_convs = onnxruntime_float_convs(graph)
    for node in graph:
        if node.op_type in {"Conv", "MaxPool"} and node.name not in float_convs:
            values[value_name(node.inputs[0])] = None
            values[value_name(activated(node.outputs[0]))] = None
        elif is_sum(node) and _is_integer_sum(node):
            values.update(dict.fromkeys(value_name(value) for value in node.inputs))
            values[value_name(activated(node.outputs[0]))] = None
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
        and _input_channels(node) % TAKEN_TOGETHER
        and not any(user.op_type == "MaxPool" for user in users(activated(node.outputs[0])))
    ]


def quantized_tensors(graph: ir.Graph, float_convs: Collection[str] = ()) -> list[str]:
    """The tensors that Convs read in int8 in either graph, directly or through sums and BN.

    Those of `tensorrt_points`, and the skips in front of BN that ONNX Runtime's graph alone quantizes.
    """
    integer, nodes = set(onnxruntime_values(graph)), {node.name: node for node in graph}
    skips = [point for point in skip_points(graph) if point.tensor in integer and is_normalized(nodes[point.node])]
    return list(dict.fromkeys(point.tensor for point in (*tensorrt_points(graph, float_convs), *skips)))


def calibrated_tensors(graph: ir.Graph) -> list[str]:
    """The tensors whose range either placement needs, or equalization."""
    points = (*tensorrt_points(graph), *skip_points(graph))
    names = dict.fromkeys([*(point.tensor for point in points), *onnxruntime_values(graph)])
    return list(dict.fromkeys(range_source(graph, name) for name in names))


def conv_inputs(graph: ir.Graph) -> list[str]:
    """The tensors that Convs read."""
    return list(dict.fromkeys(value_name(node.inputs[0]) for node in graph if node.op_type == "Conv"))


def range_source(graph: ir.Graph, tensor: str) -> str:
    """The tensor whose range `tensor` uses: itself, but the input for a MaxPool's output.

    Both have the same scale then, so that the MaxPool stays an integer operation.
    """
    for node in graph:
        if node.op_type == "MaxPool" and value_name(node.outputs[0]) == tensor:
            return range_source(graph, value_name(node.inputs[0]))
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


def _point(node: ir.Node, index: int) -> Point:
    return Point(value_name(node.inputs[index]), node.name or "", index)


def _is_integer_sum(add: ir.Node) -> bool:
    values = [activated(add.outputs[0])]
    if values[0] is add.outputs[0]:
        norms = [user for user in users(values[0]) if user.op_type == "BatchNormalization"]
        values = [activated(norm.outputs[0]) for norm in norms if (size_of(norm.inputs[1]) or 0) >= MIN_CHANNELS]
    return any(user.op_type == "Conv" for value in values for user in users(value))


def _input_channels(conv: ir.Node) -> int:
    shape = shape_of(conv.inputs[1])
    assert shape is not None, f"the weights of {conv.name} have no shape"
    return shape[1] or 0
