"""Draws a network as one SVG: blocks and layers from top to bottom, skips, shapes, costs, colours by precision."""

from __future__ import annotations

import html
from collections.abc import Iterable

from wrn_deploy.formatting import abbreviate
from wrn_deploy.rendering.pictures.canvas import short, text
from wrn_deploy.rendering.pictures.sheet import sheet
from wrn_deploy.rendering.plots.network import Kind, Layer, Network, Segment, Tensor
from wrn_deploy.rendering.plots.network_layout import PADDING, SKIP, Box, Frame, Layout, lay_out

__all__ = ["draw_network", "shape_of", "told_network"]

TOP = 88.0
LEAST = 620.0  # pixels across, for the heading
ROOM = 48  # letters in a box
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "fp8")

STYLE = """
.frame { fill: var(--soft); stroke: var(--rule); } .many { stroke: var(--muted); stroke-dasharray: 4 3; }
.box { fill: var(--page); stroke: var(--muted); stroke-width: 1; } .norm { fill: var(--soft); }
.wire, .quantized { fill: none; stroke: var(--muted); stroke-width: 1.5; }
.quantized { stroke-width: 2.5; } .head { fill: var(--muted); }
.quantized.of-int8 { stroke: var(--int8); } .head.of-int8 { fill: var(--int8); }
.quantized.of-fp8 { stroke: var(--fp8); } .head.of-fp8 { fill: var(--fp8); }
.fp32 { fill: var(--fp32); } .fp16 { fill: var(--fp16); } .int8 { fill: var(--int8); } .bf16 { fill: var(--bf16); }
.fp8 { fill: var(--fp8); } .tint { opacity: .12; } .count { font-size: 17px; font-weight: 600; }
.halo { stroke: var(--soft); stroke-width: 4px; stroke-linejoin: round; paint-order: stroke; }
"""


def draw_network(network: Network, *, fold: bool = True) -> str:
    """The picture, ready to be written as UTF-8; light and dark.

    Args:
        network: what is drawn.
        fold: equal blocks that follow each other are drawn once, with how many there are.
    """
    layout = lay_out(network, TOP, fold=fold)
    width = max(layout.width, LEAST)
    body = [_heading(network, width)]
    body += [_frame(frame) for frame in layout.frames]
    largest = max((layer.macs for layer in network.layers), default=0)
    body += [_box(box, network.layers[box.layer], largest) for box in layout.boxes.values()]
    body += _wires(network, layout)
    body += [_about(frame, network) for frame in layout.frames]
    return sheet((_title(network), told_network(network, layout.segments)), (width, layout.bottom + 8), STYLE,
                 "\n".join(body))  # fmt: skip


def told_network(network: Network, segments: Iterable[Segment]) -> str:
    """The network in words, block by block."""
    parts = [
        f"{abbreviate(network.parameters)} parameters, {abbreviate(network.macs)} multiply-accumulates for one image"
    ]
    for segment in segments:
        layers = network.layers[segment.first : segment.last + 1]
        times = f"{segment.count} times " if segment.count > 1 else ""
        told = ", ".join(" ".join(filter(None, (layer.label, shape_of(layer)))) for layer in layers)
        parts.append(f"{segment.title}: {times}{told}")
    return "; ".join(parts)


def shape_of(layer: Layer) -> str:
    """The output of a layer, as in 64x8x8; empty where it is not known."""
    return "x".join(map(str, layer.shape))


def _title(network: Network) -> str:
    return f"{network.name}, {network.precision}" if network.precision else network.name


def _heading(network: Network, width: float) -> str:
    counts = f"{abbreviate(network.parameters)} parameters in the graph, {abbreviate(network.macs)} MACs for one image"
    parts = [text(16, 28, short(_title(network), 64), "title"), text(16, 48, counts, "about")]
    at = 16.0
    sums = {kind: sum(layer.macs for layer in network.layers if layer.arithmetic == kind) for kind in PRECISIONS}
    for kind, macs in sums.items():
        if macs:
            words = f"{kind}: {100 * macs / network.macs:.1f} % of MACs"
            parts.append(f'<rect class="{kind}" x="{at:g}" y="60" width="14" height="10" rx="2"/>')
            parts.append(text(at + 20, 69, words))
            at += 34 + 6.6 * len(words)
    codes = next((tensor for tensor in network.tensors if tensor.codes), None)
    if codes is not None:
        parts.append(f'<path class="quantized{_colour(codes)}" d="M{at:g} 65h22"/>')
        parts.append(text(at + 28, 69, "quantized tensor"))
    parts.append(text(width - 16, 69, "bar: share of MACs", anchor="end"))
    return "".join(parts)


def _frame(frame: Frame) -> str:
    many = " many" if frame.segment.count > 1 else ""
    size = f'x="{frame.left:g}" y="{frame.top:g}" width="{frame.width:g}" height="{frame.height:g}" rx="6"'
    return f'<rect class="frame{many}" {size}/>'


def _about(frame: Frame, network: Network) -> str:
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
    return "".join(parts)


def _box(box: Box, layer: Layer, largest: int) -> str:
    size = f'x="{box.left:g}" y="{box.top:g}" width="{box.width:g}" height="{box.height:g}" rx="4"'
    norm = " norm" if layer.kind in (Kind.NORM, Kind.POOL) else ""
    told = html.escape(", ".join(filter(None, (layer.name, layer.label, *_facts(layer)))))
    parts = [f'<g><title>{told}</title><rect class="box{norm}" {size}/>']
    if layer.arithmetic in PRECISIONS:
        parts.append(f'<rect class="{layer.arithmetic} tint" {size}/>')
        parts.append(_bar(layer.arithmetic, (box.left, box.top), (5, box.height)))
        share = layer.macs / largest if largest else 0.0
        parts.append(_bar(layer.arithmetic, (box.left + 8, box.bottom - 5), (max((box.width - 16) * share, 1.0), 3)))
    label = short(layer.label if layer.kind is not Kind.INPUT else layer.name, ROOM)
    if box.height > 30:
        parts.append(text(box.left + 14, box.top + 16, label, "strong"))
        parts.append(text(box.left + 14, box.top + 32, " · ".join(_facts(layer))))
    else:
        parts.append(text(box.middle, box.top + 17, _short_line(layer), anchor="middle"))
    if layer.outputs:
        parts.append(
            text(box.left + box.width - 8, box.top + 16, f"▸ {short(', '.join(layer.outputs), 14)}", anchor="end")
        )
    return "".join(parts) + "</g>"


def _bar(arithmetic: str, place: tuple[float, float], size: tuple[float, float]) -> str:
    (x, y), (width, height) = place, size
    return f'<rect class="{arithmetic}" x="{x:g}" y="{y:g}" width="{width:.1f}" height="{height:g}" rx="1.5"/>'


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


def _wires(network: Network, layout: Layout) -> list[str]:
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
        _wire(layout.boxes[tensor.source], layout.boxes[tensor.target], tensor, layout) for tensor in drawn.values()
    ]


def _wire(source: Box, target: Box, tensor: Tensor, layout: Layout) -> str:
    frame = next((f for f in layout.frames if f.segment.first <= tensor.target <= f.segment.last), None)
    outside = frame is None or not frame.segment.first <= tensor.source <= frame.segment.last
    start = f"M{source.middle:g} {source.bottom:g}"
    if target.column == 0 and source.column == 0:
        skips = any(source.bottom < box.top < target.top and box.column == 0 for box in layout.boxes.values())
        if not skips:
            return _arrow(f"{start}V{target.top:g}", (target.middle, target.top), "down", tensor)
        left = (frame.left if frame is not None else target.left) + 16
        turn = source.bottom + (8 if not outside else 9)
        path = f"{start}V{turn:g}H{left:g}V{target.top + target.height / 2:g}H{target.left:g}"
        return _arrow(path, (target.left, target.top + target.height / 2), "right", tensor)
    if target.column > 0:
        turn = target.top - 9
        return _arrow(f"{start}V{turn:g}H{target.middle:g}V{target.top:g}", (target.middle, target.top), "down", tensor)
    middle = target.top + target.height / 2
    path = f"{start}V{middle:g}H{target.left + target.width:g}"
    return _arrow(path, (target.left + target.width, middle), "left", tensor)


def _arrow(path: str, tip: tuple[float, float], way: str, tensor: Tensor) -> str:
    x, y = tip
    heads = {"down": f"M{x:g} {y:g}l-4-7h8z", "right": f"M{x:g} {y:g}l-7-4v8z", "left": f"M{x:g} {y:g}l7-4v8z"}
    wire, head = "quantized" if tensor.codes else "wire", f"head{_colour(tensor)}"
    told = f"<title>{tensor.codes}</title>" if tensor.codes else ""
    return f'<path class="{wire}{_colour(tensor)}" d="{path}">{told}</path><path class="{head}" d="{heads[way]}"/>'


def _colour(tensor: Tensor) -> str:
    if tensor.codes is None:
        return ""
    return " of-fp8" if tensor.codes.startswith("float8") else " of-int8"
