"""Cross-layer equalisation: rescales and shifts a graph so that the channels of each quantized tensor span alike."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from wrn_deploy.calib.collection.ranges import Part, Range, Unit
from wrn_deploy.calib.collection.table import Equalization
from wrn_deploy.calib.equalization.channels import Factors, bias_moves, channel_classes, own_parameter, rescale, shift
from wrn_deploy.calib.placement import Point, range_source, skip_points, tensorrt_points
from wrn_deploy.graph import parameter, producer, users, value_name, values_of

__all__ = [
    "classifier_factors", "equalize", "equalized_units", "find_equalization", "original_ranges", "tensor_units",
]  # fmt: skip

# The exponent of the activations in a factor; the weights that read them get the rest. Measured on two CIFAR-10
# networks (0.5, 0.75 and 1 differ by less than the measurement's uncertainty).
ALPHA = 0.75
WIDEST = 64.0  # the largest ratio that is evened out: the range of a dead channel is noise


def find_equalization(graph: ir.Graph, ranges: Mapping[str, Range]) -> Equalization:
    """Finds the factors and shifts that bring the channels of each quantized tensor of the fp32 graph to like ranges.

    int8 activations have one scale per tensor: a channel with a hundredth of the range has a hundredth of the levels.
    Channel c, with span r_c and largest weight w_c that reads it (both relative to the largest of the tensor), gets
        factor_c = r_c^-ALPHA * w_c^(1 - ALPHA).
    With the factor's reciprocal as s, that is s = r^ALPHA / w^(1 - ALPHA) of SmoothQuant (Xiao et al.,
    arXiv:2211.10438), and for ALPHA = 1/2 the sqrt(r / w) of cross-layer equalisation (Nagel et al., arXiv:1906.04721),
    with measured activations for r instead of the weights that write them: those have a scale per output channel, so
    that enlarging their channels costs nothing. The weights that read a channel share a scale with other channels, so
    ALPHA leaves them a part.

    A tensor that only BN reads, as the sums of a pre-activation net, has no such weights: its factor is 1 / r_c. Its
    channels are centred too (`shift`): a channel that lies on one side of zero then needs at most half the range.
    """
    # ONNX Runtime quantizes sums that TensorRT does not.
    points, classes = list(dict.fromkeys([*tensorrt_points(graph), *skip_points(graph)])), channel_classes(graph)
    shifts: dict[str, Factors] = {}
    for name in _centred(graph, points):
        whole = ranges[name].whole
        shifts[name] = (whole.lows.astype(np.float64) + whole.highs) / 2
    spans: dict[str, Factors] = {}
    for name in dict.fromkeys(range_source(graph, point.tensor) for point in points if point.tensor in classes):
        whole = ranges[name].whole
        span = whole.channels.astype(np.float64)
        if name in shifts:
            span = (whole.highs.astype(np.float64) - whole.lows) / 2
        relative = span / (span.max() or 1.0)
        spans[classes[name]] = np.maximum(spans.get(classes[name], np.zeros(1)), relative)
    nodes = {node.name: node for node in graph}
    factors: dict[str, Factors] = {}
    for class_, span in spans.items():
        convs = [nodes[point.node] for point in points if classes.get(point.tensor) == class_]
        weights = _input_weights([conv for conv in convs if conv.op_type == "Conv"])
        wanted = _bounded(span) ** -(1.0 if weights is None else ALPHA)
        factors[class_] = wanted if weights is None else wanted * _bounded(weights) ** (1.0 - ALPHA)
    # A shift is that of the tensor after it has been multiplied.
    moved = {name: middle * factors.get(classes.get(name, ""), np.ones(1)) for name, middle in shifts.items()}
    return Equalization(
        factors={name: values.tolist() for name, values in factors.items()},
        shifts={name: values.tolist() for name, values in moved.items()},
    )


def equalize(model: ir.Model, equalization: Equalization) -> ir.Model:
    """Returns a copy of the fp32 graph, rescaled and shifted, with a bias for each Conv; the logits are the same."""
    changed = model.clone()
    for node in changed.graph:
        if node.op_type == "Conv" and len(node.inputs) < 3:
            node.resize_inputs(3)
            own_parameter(changed.graph, node, 2, np.zeros(len(parameter(node, 1))))
    rescale(changed.graph, {name: np.asarray(values) for name, values in equalization.factors.items()})
    shift(changed.graph, {name: np.asarray(values) for name, values in equalization.shifts.items()})
    return changed


def equalized_units(graph: ir.Graph, equalization: Equalization) -> dict[str, Unit]:
    """What `equalize` does to each tensor of the fp32 graph that it changes."""
    classes = channel_classes(graph)
    shifts = {name: np.asarray(values) for name, values in equalization.shifts.items()}
    moves = {**{name: -values for name, values in shifts.items()}, **bias_moves(graph, shifts)}
    units = {}
    for name in dict.fromkeys([*classes, *moves]):
        factors = equalization.factors.get(classes.get(name, ""))
        if factors is not None or name in moves:
            kept = np.ones(len(moves[name])) if factors is None else np.asarray(factors)
            move = moves.get(name, np.zeros(len(kept)))
            units[name] = Unit(factors=kept.astype(np.float32), moves=move.astype(np.float32))
    return units


def original_ranges(graph: ir.Graph, ranges: Mapping[str, Range], equalization: Equalization) -> dict[str, Range]:
    """Computes the ranges before `equalize` from those after it, without histograms; `graph` is equalized or not."""
    units = equalized_units(graph, equalization)

    def undone(part: Part, unit: Unit) -> Part:
        lows, highs = ((values - unit.moves) / unit.factors for values in (part.lows, part.highs))
        return Part(histogram=None, lows=lows, highs=highs, values=part.values)

    originals = dict(ranges)
    for name in ranges.keys() & units.keys():
        first, second = (undone(part, units[name]) for part in ranges[name].splits)
        originals[name] = Range((first, second))
    return originals


def classifier_factors(graph: ir.Graph, equalization: Equalization) -> list[float] | None:
    """The factors of the pooled features, (F,), by which the classifier's weights are divided; None: they stay.

    `graph` is the fp32 graph, equalised or not.
    """
    read = [value_name(node.inputs[0]) for node in graph if node.op_type == "Gemm"]
    return tensor_units(graph, equalization, read[-1])[0] if read else None


def tensor_units(
    graph: ir.Graph, equalization: Equalization, name: str
) -> tuple[list[float] | None, list[float] | None]:
    """The factors of the tensor `name`, and the shifts that are then subtracted, (C,) each; None: no change.

    `graph` is the fp32 graph, equalised or not.
    """
    return equalization.factors.get(channel_classes(graph).get(name, "")), equalization.shifts.get(name)


def _centred(graph: ir.Graph, points: list[Point]) -> list[str]:
    """The skips that can be shifted: written by a Conv or by a sum with a Conv, and read by BN and sums only."""
    nodes = {node.name: node for node in graph}
    values = values_of(graph)
    skips = dict.fromkeys(point.tensor for point in points if nodes[point.node].op_type == "Add")
    return [
        name
        for name in skips
        if producer(values[name], "Conv", "Add") is not None
        and all(user.op_type in {"BatchNormalization", "Add"} for user in users(values[name]))
    ]


def _input_weights(convs: list[ir.Node]) -> Factors | None:
    """For each input channel, the largest weight that reads it, relative to the largest of its output channel."""
    found = []
    for conv in convs:
        weights = np.abs(parameter(conv, 1))
        peaks = weights.max(axis=(1, 2, 3), keepdims=True)
        found.append((weights / np.where(peaks > 0, peaks, 1.0)).max(axis=(0, 2, 3)))
    return np.max(found, axis=0) if found else None


def _bounded(relative: Factors) -> Factors:
    return np.maximum(relative / (relative.max() or 1.0), 1.0 / WIDEST)
