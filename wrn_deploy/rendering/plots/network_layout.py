"""Places the layers of a network: rows from top to bottom, the longest path straight down, other paths beside it."""

from __future__ import annotations

from dataclasses import dataclass

from wrn_deploy.rendering.pictures.label_placement import Box
from wrn_deploy.rendering.plots.network import Layer, LayerKind, Network, Segment, segments_of

__all__ = ["PADDING", "SKIP", "Frame", "NetworkLayout", "lay_out"]

BOX = 320.0  # pixels: the width of a box
SMALL = 150.0  # of a sum's
TALL, SHORT = 42.0, 25.0  # heights of boxes with two lines of text and with one
GAP, BESIDE = 20.0, 34.0  # between boxes, downwards and to the side
PADDING, TITLE, SKIP = 12.0, 24.0, 26.0  # of a block's frame: around, above for its name, at the left for a skip
LEFT = 24.0
MARGIN = 170.0  # at the right of a block with one column, for what it costs


@dataclass(frozen=True, slots=True)
class Frame:
    """What is drawn around a block, or around one of several equal segments."""

    segment: Segment
    box: Box

    @property
    def wide(self) -> bool:
        """Whether layers stand beside each other in it."""
        return self.box.width > 1.5 * BOX


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkLayout:
    """Where each drawn layer is, its column (0: the longest path), the frames, and the edges of the picture."""

    boxes: dict[int, Box]
    columns: dict[int, int]
    frames: tuple[Frame, ...]
    segments: tuple[Segment, ...]
    width: float
    bottom: float


def lay_out(network: Network, top: float, *, fold: bool) -> NetworkLayout:
    """Places everything from `top` down; with `fold`, equal segments in a row are placed once."""
    segments = segments_of(network, fold=fold)
    boxes: dict[int, Box] = {}
    columns: dict[int, int] = {}
    frames, y = [], top
    for segment in segments:
        rows, start = _rows(network, segment), y
        framed = segment.is_block or segment.count > 1
        y += TITLE + PADDING if framed else 0.0
        for row in rows:
            columns |= row
            height = max(_height(network.layers[index]) for index in row)
            boxes |= {index: _box(network.layers[index], column, y + height / 2) for index, column in row.items()}
            y += height + GAP
        if framed:
            count = 1 + max(column for row in rows for column in row.values())
            width = count * BOX + (count - 1) * BESIDE + 2 * PADDING + SKIP
            frames.append(Frame(segment, Box(LEFT, start, LEFT + width, y - GAP + PADDING)))
            y += PADDING
    edges = [frame.box.right + (0 if frame.wide else MARGIN) for frame in frames]
    right = max(*edges, 0.0, *(box.right for box in boxes.values()))
    return NetworkLayout(
        boxes=boxes, columns=columns, frames=tuple(frames), segments=tuple(segments), width=right + LEFT, bottom=y
    )


def _box(layer: Layer, column: int, middle: float) -> Box:
    """The box in the middle of its column, around the height `middle`."""
    width, height = SMALL if layer.kind is LayerKind.SUM else BOX, _height(layer)
    left = LEFT + PADDING + SKIP + column * (BOX + BESIDE) + (BOX - width) / 2
    return Box(left, middle - height / 2, left + width, middle + height / 2)


def _height(layer: Layer) -> float:
    return TALL if layer.macs or layer.kind in (LayerKind.INPUT, LayerKind.CONV, LayerKind.LINEAR) else SHORT


def _rows(network: Network, segment: Segment) -> list[dict[int, int]]:
    """The layers of a segment by row, each with its column; those on the longest path are first."""
    inside = range(segment.first, segment.last + 1)
    reads = {index: [t.source for t in network.tensors if t.target == index and t.source in inside] for index in inside}
    depth: dict[int, int] = {}
    for index in inside:
        depth[index] = max((depth[source] + 1 for source in reads[index]), default=0)
    straight = [segment.last]
    while sources := reads[straight[-1]]:
        straight.append(max(sources, key=lambda source: depth[source]))
    rows: list[dict[int, int]] = [{} for _ in range(max(depth.values()) + 1)]
    for index in straight:
        rows[depth[index]][index] = 0
    for index in inside:
        row = rows[depth[index]]
        if index not in row:
            row[index] = 1 + sum(1 for column in row.values() if column)
    return rows
