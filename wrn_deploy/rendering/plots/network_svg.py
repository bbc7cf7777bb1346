"""Draws a network as one SVG: blocks and layers from top to bottom, skips, shapes, costs, colours by precision."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from wrn_deploy.formatting import abbreviate
from wrn_deploy.rendering.pictures.svg import Picture, element, path, rect, short, text
from wrn_deploy.rendering.plots.network import Kind, Layer, Network, Segment, Tensor
from wrn_deploy.rendering.plots.network_layout import PADDING, SKIP, Box, Frame, Layout, lay_out
from wrn_deploy.spec import Precision

__all__ = ["describe_network", "draw_network", "shape_of"]

TOP = 88.0
LEAST = 620.0  # pixels across, for the heading
ROOM = 48  # letters in a box


def draw_network(network: Network, *, fold: bool = True) -> Picture:
    """The network from top to bottom.

    Args:
        network: what is drawn.
        fold: equal blocks that follow each other are drawn once, with how many there are.
    """
    layout = lay_out(network, TOP, fold=fold)
    width = max(layout.width, LEAST)
    largest = max((layer.macs for layer in network.layers), default=0)
    return Picture(
        title=_title(network),
        described=describe_network(network, layout.segments),
        width=width,
        height=layout.bottom + 8,
        body=[
            *_heading(network, width),
            *map(_frame, layout.frames),
            *(_box(box, network.layers[box.layer], largest) for box in layout.boxes.values()),
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
        layers = network.layers[segment.first : segment.last + 1]
        times = f"{segment.count} times " if segment.count > 1 else ""
        words = ", ".join(" ".join(filter(None, (layer.label, shape_of(layer)))) for layer in layers)
        parts.append(f"{segment.title}: {times}{words}")
    return "; ".join(parts)


def shape_of(layer: Layer) -> str:
    """The output of a layer, as in 64x8x8; empty where it is not known."""
    return "x".join(map(str, layer.shape))


def _title(network: Network) -> str:
    return f"{network.name}, {network.precision}" if network.precision else network.name


def _heading(network: Network, width: float) -> list[Markup]:
    counts = f"{abbreviate(network.parameters)} parameters in the graph, {abbreviate(network.macs)} MACs for one image"
    parts = [text(16, 28, short(_title(network), 64), "title"), text(16, 48, counts, "about")]
    at = 16.0
    for kind in Precision:
        macs = sum(layer.macs for layer in network.layers if layer.arithmetic == kind)
        if macs:
            words = f"{kind}: {100 * macs / network.macs:.1f} % of MACs"
            parts += [rect(kind, at, 60, 14, 10, rx=2), text(at + 20, 69, words)]
            at += 34 + 6.6 * len(words)
    quantized = next((tensor for tensor in network.tensors if tensor.codes), None)
    if quantized is not None:
        parts += [path(f"quantized {_precision(quantized)}", f"M{at:g} 65h22"), text(at + 28, 69, "quantized tensor")]
    return [*parts, text(width - 16, 69, "bar: share of MACs", anchor="end")]


def _frame(frame: Frame) -> Markup:
    style = "frame many" if frame.segment.count > 1 else "frame"
    return rect(style, frame.left, frame.top, frame.width, frame.height, rx=6)


def _costs(frame: Frame, network: Network) -> list[Markup]:
    """What a frame is, how many there are, and what they cost together: beside it, or within it where it is wide."""
    segment = frame.segment
    layers = network.layers[segment.first : segment.last + 1]
    sums = (segment.count * sum(getattr(layer, name) for layer in layers) for name in ("parameters", "macs"))
    costs = [f"{abbreviate(total)} {what}" for total, what in zip(sums, ("parameters", "MACs"), strict=True) if total]
    y = frame.top + 19
    parts = [text(frame.left + PADDING + SKIP, y, short(segment.title, 22), "strong halo")]
    if frame.wide:
        parts.append(text(frame.left + frame.width - PADDING, y, ", ".join(costs), "tick", "end"))
        y -= 24
    else:
        parts += [text(frame.left + frame.width + 14, y + 18 * row, cost) for row, cost in enumerate(costs)]
    if segment.count > 1:
        parts.append(text(frame.left + frame.width + 14, y + 42, f"x {segment.count}", "count"))
    return parts


def _box(box: Box, layer: Layer, largest: int) -> Markup:
    x, y, width, height = box.left, box.top, box.width, box.height
    tooltip = ", ".join(filter(None, (layer.name, layer.label, *_facts(layer))))
    parts = [rect("box norm" if layer.kind in (Kind.NORM, Kind.POOL) else "box", x, y, width, height, rx=4)]
    if layer.arithmetic in tuple(Precision):
        kind, share = layer.arithmetic or "", layer.macs / largest if largest else 0.0
        parts.append(rect(f"{kind} tint", x, y, width, height, rx=4))
        parts.append(rect(kind, x, y, 5, height, rx=1.5))
        parts.append(rect(kind, x + 8, box.bottom - 5, max((width - 16) * share, 1.0), 3, rx=1.5))
    if height > 30:
        label = short(layer.label if layer.kind is not Kind.INPUT else layer.name, ROOM)
        parts += [text(x + 14, y + 16, label, "strong"), text(x + 14, y + 32, " · ".join(_facts(layer)))]
    else:
        parts.append(text(box.middle, y + 17, _short_line(layer), anchor="middle"))
    if layer.outputs:
        parts.append(text(x + width - 8, y + 16, f"▸ {short(', '.join(layer.outputs), 14)}", anchor="end"))
    return element("g", *parts, tooltip=tooltip)


def _short_line(layer: Layer) -> str:
    """A box of one line: what it does, and its output where that is not as large as before."""
    shape = shape_of(layer) if layer.kind in (Kind.POOL, Kind.OTHER) else ""
    return short(" · ".join(filter(None, (layer.label, shape))), 20 if layer.kind is Kind.SUM else ROOM)


def _facts(layer: Layer) -> list[str]:
    facts = [shape_of(layer)]
    if layer.parameters:
        facts.append(f"{abbreviate(layer.parameters)} parameters")
    if layer.macs:
        facts.append(f"{abbreviate(layer.macs)} MACs")
    return [fact for fact in facts if fact]


def _wires(network: Network, layout: Layout) -> list[Markup]:
    """The tensors between boxes that are drawn; into the first of folded blocks goes what is read in front of them."""
    hidden = {}
    for segment in layout.segments:
        length = segment.last - segment.first + 1
        for place in range(segment.first, segment.first + length * segment.count):
            hidden[place] = segment.first + (place - segment.first) % length
    drawn: dict[tuple[int, int], Tensor] = {}
    for tensor in network.tensors:
        source, target = hidden[tensor.source], hidden[tensor.target]
        if tensor.target in layout.boxes and source != target:
            drawn[source, target] = Tensor(source, target, tensor.codes)
    return [
        part
        for tensor in drawn.values()
        for part in _wire(layout.boxes[tensor.source], layout.boxes[tensor.target], tensor, layout)
    ]


def _wire(source: Box, target: Box, tensor: Tensor, layout: Layout) -> list[Markup]:
    frame = next((f for f in layout.frames if f.segment.first <= tensor.target <= f.segment.last), None)
    outside = frame is None or not frame.segment.first <= tensor.source <= frame.segment.last
    start = f"M{source.middle:g} {source.bottom:g}"
    if target.column == 0 and source.column == 0:
        skips = any(source.bottom < box.top < target.top and box.column == 0 for box in layout.boxes.values())
        if not skips:
            return _arrow(f"{start}V{target.top:g}", (target.middle, target.top), "down", tensor)
        left = (frame.left if frame is not None else target.left) + 16
        turn = source.bottom + (8 if not outside else 9)
        line = f"{start}V{turn:g}H{left:g}V{target.top + target.height / 2:g}H{target.left:g}"
        return _arrow(line, (target.left, target.top + target.height / 2), "right", tensor)
    if target.column > 0:
        turn = target.top - 9
        return _arrow(f"{start}V{turn:g}H{target.middle:g}V{target.top:g}", (target.middle, target.top), "down", tensor)
    middle = target.top + target.height / 2
    line = f"{start}V{middle:g}H{target.left + target.width:g}"
    return _arrow(line, (target.left + target.width, middle), "left", tensor)


def _arrow(line: str, tip: tuple[float, float], way: str, tensor: Tensor) -> list[Markup]:
    x, y = tip
    heads = {"down": f"M{x:g} {y:g}l-4-7h8z", "right": f"M{x:g} {y:g}l-7-4v8z", "left": f"M{x:g} {y:g}l7-4v8z"}
    style = f"quantized {_precision(tensor)}" if tensor.codes else "wire"
    return [path(style, line, tensor.codes or ""), path(f"head {_precision(tensor)}".rstrip(), heads[way])]


def _precision(tensor: Tensor) -> str:
    if tensor.codes is None:
        return ""
    return Precision.FP8 if tensor.codes.startswith("float8") else Precision.INT8
