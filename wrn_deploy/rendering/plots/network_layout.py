"""Places the boxes of a network: rows from top to bottom, the longest way straight down, other ways beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wrn_deploy.rendering.plots.network import Kind, Layer, Network, Segment, segments_of

__all__ = ["PADDING", "SKIP", "Box", "Frame", "Layout", "lay_out"]

BOX = 320.0  # pixels: the width of a box
SMALL = 150.0  # of a sum's
TALL, SHORT = 42.0, 25.0  # heights of boxes with two lines of text and with one
GAP, BESIDE = 20.0, 34.0  # between boxes, downwards and to the side
PADDING, TITLE, SKIP = 12.0, 24.0, 26.0  # of a block's frame: around, above for its name, at the left for a skip
LEFT = 24.0
MARGIN = 170.0  # at the right of a block with one column, for what it costs


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Where a layer is drawn, in pixels; `column` 0 is the longest way."""

    layer: int
    column: int
    left: float
    top: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """Across."""
        return self.left + self.width / 2

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.top + self.height


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What is drawn around a segment of several layers, or of several equal ones."""

    segment: Segment
    left: float
    top: float
    width: float
    height: float

    @property
    def wide(self) -> bool:
        """Whether boxes stand beside each other in it."""
        return self.width > 1.5 * BOX


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """All boxes by layer, the frames, and where the picture ends."""

    boxes: dict[int, Box]
    frames: tuple[Frame, ...]
    segments: tuple[Segment, ...]
    width: float
    bottom: float


def lay_out(network: Network, top: float, *, fold: bool) -> Layout:
    """The places of everything, from `top` down; with `fold`, equal blocks that follow each other are drawn once."""
    segments = segments_of(network, fold=fold)
    left = LEFT + PADDING + SKIP
    boxes: dict[int, Box] = {}
    frames = []
    at = top
    for segment in segments:
        framed = segment.is_block or segment.count > 1
        start = at
        rows = _rows(network, segment)
        columns = 1 + max(column for row in rows for _, column in row)
        at += TITLE + PADDING if framed else 0.0
        for row in rows:
            height = max(_height(network.layers[place]) for place, _ in row)
            for place, column in row:
                boxes[place] = _box(network.layers[place], place, (left, at, height), column)
            at += height + GAP
        if framed:
            width = columns * BOX + (columns - 1) * BESIDE + 2 * PADDING + SKIP
            frames.append(Frame(segment=segment, left=LEFT, top=start, width=width, height=at - GAP + PADDING - start))
            at += PADDING
    right = max((frame.left + frame.width + (0 if frame.wide else MARGIN) for frame in frames), default=0.0)
    right = max(right, *(box.left + box.width for box in boxes.values()))
    return Layout(boxes=boxes, frames=tuple(frames), segments=tuple(segments), width=right + LEFT, bottom=at)


def _box(layer: Layer, place: int, where: tuple[float, float, float], column: int) -> Box:
    """The box in the middle of its column and its row."""
    left, top, row = where
    width, height = SMALL if layer.kind is Kind.SUM else BOX, _height(layer)
    return Box(
        layer=place,
        column=column,
        left=left + column * (BOX + BESIDE) + (BOX - width) / 2,
        top=top + (row - height) / 2,
        width=width,
        height=height,
    )


def _height(layer: Layer) -> float:
    return TALL if layer.macs or layer.kind in (Kind.INPUT, Kind.CONV, Kind.LINEAR) else SHORT


def _rows(network: Network, segment: Segment) -> list[list[tuple[int, int]]]:
    """The layers of a segment by row, each with its column."""
    inside = range(segment.first, segment.last + 1)
    reads = {place: [t.source for t in network.tensors if t.target == place and t.source in inside] for place in inside}
    depth: dict[int, int] = {}
    for place in inside:
        depth[place] = max((depth[source] + 1 for source in reads[place]), default=0)
    straight = _longest(segment.last, depth, reads)
    rows: list[list[tuple[int, int]]] = [[] for _ in range(max(depth.values()) + 1)]
    for place in inside:
        if place in straight:
            rows[depth[place]].insert(0, (place, 0))
        else:
            row = rows[depth[place]]
            row.append((place, 1 + sum(1 for _, column in row if column)))
    return rows


def _longest(last: int, depth: dict[int, int], reads: dict[int, Sequence[int]] | dict[int, list[int]]) -> set[int]:
    """The layers on the longest way to the last one."""
    found, place = {last}, last
    while reads[place]:
        place = max(reads[place], key=lambda source: depth[source])
        found.add(place)
    return found
