"""Draws a network as one SVG: blocks and layers from top to bottom, skips, shapes, costs, colours by precision."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from wrn_deploy.formatting import abbreviate
from wrn_deploy.rendering.pictures.label_placement import Box, Point
from wrn_deploy.rendering.pictures.svg import Picture, element, path, rect, short, text
from wrn_deploy.rendering.plots.network import Layer, LayerKind, Network, Segment, Tensor
from wrn_deploy.rendering.plots.network_layout import PADDING, SKIP, Frame, NetworkLayout, lay_out
from wrn_deploy.spec import Precision

__all__ = ["describe_network", "draw_network", "shape_of"]

TOP = 88.0
MIN_WIDTH = 620.0  # pixels, for the heading
LONGEST = 48  # letters in a box


def draw_network(network: Network, *, fold: bool = True) -> Picture:
    """The network from top to bottom; with `fold`, equal blocks in a row are drawn once, with their number."""
    layout = lay_out(network, TOP, fold=fold)
    width = max(layout.width, MIN_WIDTH)
    largest = max((layer.macs for layer in network.layers), default=0)
    return Picture(
        title=_title(network),
        described=describe_network(network, layout.segments),
        width=width,
        height=layout.bottom + 8,
        body=[
            *_heading(network, width),
            *map(_frame, layout.frames),
            *(_layer(network.layers[index], box, largest) for index, box in layout.boxes.items()),
            *_wires(network, layout),
            *(part for frame in layout.frames for part in _costs(frame, network)),
        ],
    )


def describe_network(network: Network, segments: Iterable[Segment]) -> str:
    """The network in words, block by block."""
    parts = [
        f"{abbreviate(network.parameters)} parameters, {abbreviate(network.macs)} multiply-accumulates for one image"
    ]
    for segment in segments:
        times = f"{segment.count} times " if segment.count > 1 else ""
        words = (" ".join(filter(None, (layer.label, shape_of(layer)))) for layer in network.layers_of(segment))
        parts.append(f"{segment.title}: {times}{', '.join(words)}")
    return "; ".join(parts)


def shape_of(layer: Layer) -> str:
    """The output of a layer, as in 64x8x8; empty: not known."""
    return "x".join(map(str, layer.shape))


def _title(network: Network) -> str:
    return f"{network.name}, {network.precision}" if network.precision else network.name


def _heading(network: Network, width: float) -> list[Markup]:
    counts = f"{abbreviate(network.parameters)} parameters in the graph, {abbreviate(network.macs)} MACs for one image"
    parts = [text(16, 28, short(_title(network), 64), "title"), text(16, 48, counts, "about")]
    x = 16.0
    for precision in Precision:
        macs = sum(layer.macs for layer in network.layers if layer.arithmetic == precision)
        if macs:
            words = f"{precision}: {100 * macs / network.macs:.1f} % of MACs"
            parts += [rect(precision, x, 60, 14, 10, rx=2), text(x + 20, 69, words)]
            x += 34 + 6.6 * len(words)
    quantized = next((tensor for tensor in network.tensors if tensor.codes), None)
    if quantized is not None:
        parts += [path(f"quantized {_precision(quantized)}", f"M{x:g} 65h22"), text(x + 28, 69, "quantized tensor")]
    return [*parts, text(width - 16, 69, "bar: share of MACs", anchor="end")]


def _frame(frame: Frame) -> Markup:
    box, kind = frame.box, "frame many" if frame.segment.count > 1 else "frame"
    return rect(kind, box.left, box.top, box.width, box.height, rx=6)


def _costs(frame: Frame, network: Network) -> list[Markup]:
    """A frame's name, its number, and the costs of all layers: beside it, or inside if it is wide."""
    segment, box, layers = frame.segment, frame.box, network.layers_of(frame.segment)
    totals = {"parameters": sum(layer.parameters for layer in layers), "MACs": sum(layer.macs for layer in layers)}
    costs = [f"{abbreviate(segment.count * total)} {unit}" for unit, total in totals.items() if total]
    y = box.top + 19
    parts = [text(box.left + PADDING + SKIP, y, short(segment.title, 22), "strong halo")]
    if frame.wide:
        parts.append(text(box.right - PADDING, y, ", ".join(costs), "tick", "end"))
        y -= 24
    else:
        parts += [text(box.right + 14, y + 18 * row, cost) for row, cost in enumerate(costs)]
    if segment.count > 1:
        parts.append(text(box.right + 14, y + 42, f"x {segment.count}", "count"))
    return parts


def _layer(layer: Layer, box: Box, largest: int) -> Markup:
    """A layer's box with its texts, and its MACs as a bar against the `largest` layer's."""
    x, y, width, height = box.left, box.top, box.width, box.height
    facts = [shape_of(layer)] if layer.shape else []
    facts += [f"{abbreviate(layer.parameters)} parameters"] if layer.parameters else []
    facts += [f"{abbreviate(layer.macs)} MACs"] if layer.macs else []
    style = "box norm" if layer.kind in (LayerKind.NORM, LayerKind.POOL) else "box"
    parts = [rect(style, x, y, width, height, rx=4)]
    if layer.arithmetic in tuple(Precision):
        bar = max((width - 16) * layer.macs / largest if largest else 0.0, 1.0)
        parts += [
            rect(f"{layer.arithmetic} tint", x, y, width, height, rx=4),
            rect(layer.arithmetic or "", x, y, 5, height, rx=1.5),
            rect(layer.arithmetic or "", x + 8, box.bottom - 5, bar, 3, rx=1.5),
        ]
    if height > 30:
        label = short(layer.name if layer.kind is LayerKind.INPUT else layer.label, LONGEST)
        parts += [text(x + 14, y + 16, label, "strong"), text(x + 14, y + 32, " · ".join(facts))]
    else:
        shape = shape_of(layer) if layer.kind in (LayerKind.POOL, LayerKind.OTHER) else ""  # others keep the size
        words = " · ".join(filter(None, (layer.label, shape)))
        parts.append(
            text(box.middle[0], y + 17, short(words, 20 if layer.kind is LayerKind.SUM else LONGEST), anchor="middle")
        )
    if layer.outputs:
        parts.append(text(box.right - 8, y + 16, f"▸ {short(', '.join(layer.outputs), 14)}", anchor="end"))
    return element("g", *parts, tooltip=", ".join(filter(None, (layer.name, layer.label, *facts))))


def _wires(network: Network, layout: NetworkLayout) -> list[Markup]:
    """The tensors between drawn boxes; a folded segment's input goes into the first of the equal ones."""
    drawn_as = {}
    for segment in layout.segments:
        length = segment.last - segment.first + 1
        for offset in range(length * segment.count):
            drawn_as[segment.first + offset] = segment.first + offset % length
    wires: dict[tuple[int, int], Tensor] = {}
    for tensor in network.tensors:
        source, target = drawn_as[tensor.source], drawn_as[tensor.target]
        if tensor.target in layout.boxes and source != target:
            wires[source, target] = Tensor(source, target, tensor.codes)
    return [part for tensor in wires.values() for part in _wire(tensor, layout)]


def _wire(tensor: Tensor, layout: NetworkLayout) -> list[Markup]:
    """Straight down, around what lies between at the left, or to and from a column beside the longest path."""
    source, target = layout.boxes[tensor.source], layout.boxes[tensor.target]
    (start, _), (x, y) = source.middle, target.middle
    line = f"M{start:g} {source.bottom:g}"
    if layout.columns[tensor.target] > 0:
        return _arrow(f"{line}V{target.top - 9:g}H{x:g}V{target.top:g}", (x, target.top), "down", tensor)
    if layout.columns[tensor.source] > 0:
        return _arrow(f"{line}V{y:g}H{target.right:g}", (target.right, y), "left", tensor)
    straight = (box for index, box in layout.boxes.items() if layout.columns[index] == 0)
    if not any(source.bottom < box.top < target.top for box in straight):
        return _arrow(f"{line}V{target.top:g}", (x, target.top), "down", tensor)
    frame = next((f for f in layout.frames if f.segment.first <= tensor.target <= f.segment.last), None)
    inside = frame is not None and frame.segment.first <= tensor.source
    left = (target if frame is None else frame.box).left + 16
    turn = source.bottom + (8 if inside else 9)
    return _arrow(f"{line}V{turn:g}H{left:g}V{y:g}H{target.left:g}", (target.left, y), "right", tensor)


def _arrow(line: str, tip: Point, way: str, tensor: Tensor) -> list[Markup]:
    x, y = tip
    heads = {"down": f"M{x:g} {y:g}l-4-7h8z", "right": f"M{x:g} {y:g}l-7-4v8z", "left": f"M{x:g} {y:g}l7-4v8z"}
    precision = _precision(tensor)
    style = f"quantized {precision}" if precision else "wire"
    return [path(style, line, tensor.codes or ""), path(f"head {precision}".rstrip(), heads[way])]


def _precision(tensor: Tensor) -> str:
    if not tensor.codes:
        return ""
    return Precision.FP8 if tensor.codes.startswith("float8") else Precision.INT8
