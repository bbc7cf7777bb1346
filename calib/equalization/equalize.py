"""Cross-layer equalisation: an equal graph, in which the channels of each quantized tensor have like ranges."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.calib.collection.ranges import Part, Range
from wrn_deploy.calib.collection.table import Equalization
from wrn_deploy.calib.equalization.channels import Factors, bias_moves, channel_classes, own_parameter, rescale, shift
from wrn_deploy.calib.placement import Point, range_source, tensorrt_points
from wrn_deploy.graph import parameter, producer, users, value_name

__all__ = ["classifier_factors", "equalize", "equalized_ranges", "find_equalization", "tensor_units"]

# How far a factor follows the activations; the rest follows the weights that read them. Measured on two CIFAR-10
# networks (0.5, 0.75 and 1 differ by less than the measurement's own uncertainty).
ALPHA = 0.75
WIDEST = 64.0  # a channel is enlarged by so much at most: a dead one has no range to speak of


def find_equalization(graph: ir.Graph, ranges: Mapping[str, Range]) -> Equalization:
    """What brings the channels of each quantized tensor to like ranges.

    int8 activations have one scale a tensor: a channel with a hundredth of the range has a hundredth of the levels. The
    idea and the balance between activations and the weights that read them are those of cross-layer equalisation
    (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv:1906.04721) and
    SmoothQuant (arXiv:2211.10438). In a pre-activation net the stream of sums can be rescaled at no cost: it is written
    by Convs, whose weights have a scale a channel, and read by BN. There its channels can be centred too.

    Args:
        graph: the fp32 graph.
        ranges: of every quantized tensor of it, by channel.
    """
    points = tensorrt_points(graph)
    shifts = {name: _midpoints(ranges[name]) for name in _centred(graph, points)}
    classes = channel_classes(graph)
    spans: dict[str, Factors] = {}
    for name in dict.fromkeys(range_source(graph, point.tensor) for point in points if point.tensor in classes):
        span = _half_range(ranges[name]) if name in shifts else ranges[name].channels.astype(np.float64)
        relative = span / (span.max() or 1.0)
        spans[classes[name]] = np.maximum(spans.get(classes[name], np.zeros(1)), relative)
    nodes = {node.name: node for node in graph}
    factors = {}
    for class_, span in spans.items():
        convs = [nodes[point.node] for point in points if classes.get(point.tensor) == class_]
        weights = _input_weights([conv for conv in convs if conv.op_type == "Conv"])
        wanted = _bounded(span) ** -(1.0 if weights is None else ALPHA)
        factors[class_] = wanted if weights is None else wanted * _bounded(weights) ** (1.0 - ALPHA)
    # A shift is that of the tensor after it has been multiplied.
    moved = {name: middle * factors.get(classes.get(name, ""), np.ones(1)) for name, middle in shifts.items()}
    return Equalization(_plain(factors), _plain(moved))


def equalize(model: ir.Model, how: Equalization) -> ir.Model:
    """A copy of the fp32 graph, rescaled and shifted, in which each Conv has a bias; it computes the same logits."""
    changed = model.clone()
    for node in changed.graph:
        if node.op_type == "Conv" and len(node.inputs) < 3:
            node.resize_inputs(3)
            own_parameter(changed.graph, node, 2, np.zeros(len(parameter(node, 1))))
    rescale(changed.graph, {name: np.asarray(values) for name, values in how.factors.items()})
    shift(changed.graph, {name: np.asarray(values) for name, values in how.shifts.items()})
    return changed


def equalized_ranges(graph: ir.Graph, ranges: Mapping[str, Range], how: Equalization) -> dict[str, Range]:
    """The ranges as they are after `equalize`, without histograms: what a maximum needs."""
    classes = channel_classes(graph)
    shifts = {name: np.asarray(values) for name, values in how.shifts.items()}
    moves = {**{name: -values for name, values in shifts.items()}, **bias_moves(graph, shifts)}

    def moved(name: str, part: Part) -> Part:
        factor = np.asarray(how.factors.get(classes.get(name, ""), [1.0]))
        move = moves.get(name, np.zeros(1))
        lows, highs = part.lows * factor + move, part.highs * factor + move
        return Part(None, lows.astype(np.float32), highs.astype(np.float32), part.values)

    return {name: Range((moved(name, found.halves[0]), moved(name, found.halves[1]))) for name, found in ranges.items()}


def classifier_factors(graph: ir.Graph, how: Equalization) -> list[float] | None:
    """What `equalize` multiplies the pooled features by, (F,), which the classifier's weights take back; None: nothing.

    Args:
        graph: the fp32 graph, before it or after it.
        how: the equalisation.
    """
    classes = channel_classes(graph)
    read = [node.inputs[0] for node in graph if node.op_type == "Gemm"]
    pooled = value_name(read[-1]) if read else ""
    return how.factors.get(classes.get(pooled, ""))


def tensor_units(graph: ir.Graph, how: Equalization, name: str) -> tuple[list[float] | None, list[float] | None]:
    """What `equalize` multiplies a tensor's channels by, and then subtracts from them, (C,) each; None: nothing.

    Args:
        graph: the fp32 graph, before it or after it.
        how: the equalisation.
        name: the tensor.
    """
    return how.factors.get(channel_classes(graph).get(name, "")), how.shifts.get(name)


def _centred(graph: ir.Graph, points: list[Point]) -> list[str]:
    """The skips that can be shifted: made by a Conv or by a sum with a Conv, and read by BN and sums alone."""
    nodes = {node.name: node for node in graph}
    values = {value.name: value for node in graph for value in node.outputs}
    found = []
    for name in dict.fromkeys(point.tensor for point in points if nodes[point.node].op_type == "Add"):
        value = values.get(name)
        if value is None or producer(value, "Conv", "Add") is None:
            continue
        if all(user.op_type in {"BatchNormalization", "Add"} for user in users(value)):
            found.append(name)
    return found


def _midpoints(found: Range) -> Factors:
    whole = found.whole
    return (whole.lows.astype(np.float64) + whole.highs) / 2


def _half_range(found: Range) -> Factors:
    whole = found.whole
    return (whole.highs.astype(np.float64) - whole.lows) / 2


def _input_weights(convs: list[ir.Node]) -> Factors | None:
    """For each input channel, the largest weight that reads it as a share of its output channel's largest."""
    largest: Factors | None = None
    for conv in convs:
        weights = np.abs(parameter(conv, 1))
        peaks = weights.max(axis=(1, 2, 3), keepdims=True)
        share: npt.NDArray[np.float64] = (weights / np.where(peaks > 0, peaks, 1.0)).max(axis=(0, 2, 3))
        largest = share if largest is None else np.maximum(largest, share)
    return largest


def _bounded(relative: Factors) -> Factors:
    return np.maximum(relative / (relative.max() or 1.0), 1.0 / WIDEST)


def _plain(values: Mapping[str, Factors]) -> dict[str, list[float]]:
    return {name: [float(value) for value in one] for name, one in values.items()}
