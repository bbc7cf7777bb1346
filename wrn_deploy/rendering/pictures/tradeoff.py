"""Draws a report as inline SVG: latency against accuracy, or latency alone; colours come from the page around it."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from wrn_deploy.bench.report.report import Report
from wrn_deploy.formatting import digits, percent
from wrn_deploy.rendering.pictures.axes import Axis, grid
from wrn_deploy.rendering.pictures.canvas import LETTER, MARGIN, WIDE, drawing, mark, short, text
from wrn_deploy.rendering.pictures.label_placement import LINE, RADIUS, Box, Point, place_labels
from wrn_deploy.rendering.summary import Entry, ranking

__all__ = ["picture"]

HEIGHT = 380  # of the picture with accuracy, without its key
LOG_SPREAD = 10.0
NAMED = {True: 8, False: 5}  # on a desk and on a phone: more points than these are numbered, with their names below
KEY = 19.0  # pixels: a line of these names
RING = 7.5  # pixels: the radius of a ring around a point of the front


def picture(report: Report, width: int) -> str:
    """An `<svg>` of `width` pixels, or nothing where nothing was measured.

    Accuracy is drawn where two rows or more were measured at the smallest batch size, all with accuracy, and the
    weights are not random. Else every row has a bar.
    """
    entries = ranking(report)
    if not entries:
        return ""
    compared = len(entries) > 1 and not report.random_weights
    told = "; ".join(_described(entry) for entry in entries)
    batch = f"at batch {entries[0].latency.batch}"
    if compared and all(entry.row.accuracy is not None for entry in entries):
        body, height = _scatter(entries, width)
        front = ", ".join(entry.name for entry in _front(entries))
        told += f". None is both faster and at least as accurate as: {front}"
        title = f"Latency against top-1 accuracy {batch}"
    else:
        body, height, title = _bars(entries, width), 46.0 * len(entries) + 36, f"Latency {batch}"
    return drawing(f"picture-{width}", (title, told), (width, height), body)


def _front(entries: Sequence[Entry]) -> list[Entry]:
    """The Pareto front of entries in the order of their medians: each more accurate than all that are faster."""
    front: list[Entry] = []
    for entry in entries:
        if not front or _top1(entry) > _top1(front[-1]):
            front.append(entry)
    return front


def _scatter(entries: Sequence[Entry], width: int) -> tuple[str, float]:
    """The picture's body, and its height."""
    x_axis, y_axis = _latency_axis(entries, 46, width - 14), _accuracy_axis(entries, HEIGHT - 46, 34)
    points = [(x_axis.at(entry.latency.median_ms), y_axis.at(_top1(entry))) for entry in entries]
    whiskers = [
        Box(x_axis.at(entry.latency.min_ms), y - 1.5, x_axis.at(entry.latency.p90_ms), y + 1.5)
        for entry, (_, y) in zip(entries, points, strict=True)
    ]
    radii = [RING if entry in _front(entries) else RADIUS for entry in entries]
    marks = [Box(x - r, y - r, x + r, y + r) for (x, y), r in zip(points, radii, strict=True)]
    numbered = len(entries) > NAMED[width >= WIDE]
    names = [str(index + 1) if numbered else short(entry.name) for index, entry in enumerate(entries)]
    frame = Box(46, 30, width, HEIGHT - 50)
    labels = place_labels(points, [len(name) * LETTER + 2 * MARGIN for name in names], [*whiskers, *marks], frame)
    front = [point for entry, point in zip(entries, points, strict=True) if entry in _front(entries)]
    parts = [grid(x_axis, y_axis), _captions(x_axis, y_axis, entries[0].latency.batch), _steps(front, x_axis.end)]
    parts += [f'<path class="whisker" d="M{box.left:.1f} {box.top + 1.5:.1f}H{box.right:.1f}"/>' for box in whiskers]
    parts += [_leader(point, box) for point, box in zip(points, labels, strict=True)]
    parts += [_mark(entry, point) for entry, point in zip(entries, points, strict=True)]
    parts += [_label(name, point, box) for name, point, box in zip(names, points, labels, strict=True)]
    key, more = _key(entries, width) if numbered else ("", 0.0)
    return "".join(parts) + key, HEIGHT + more


def _steps(front: Sequence[Point], end: float) -> str:
    """The front as steps: at each latency the best accuracy that is to be had; and a ring around its points."""
    path = f"M{front[0][0]:.1f} {front[0][1]:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in front[1:]) + f"H{end:g}"
    rings = "".join(f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="{RING}"/>' for x, y in front)
    return f'<path class="front" d="{path}"/>{rings}'


def _key(entries: Sequence[Entry], width: int) -> tuple[str, float]:
    """The names of the numbered points with their numbers, in two columns on a desk, and the height they need."""
    columns = 2 if width >= WIDE else 1
    rows, wide = -(-len(entries) // columns), width / columns
    parts = []
    for index, entry in enumerate(entries):
        x, y = (index // rows) * wide, HEIGHT + KEY * (index % rows) + 16
        parts.append(text(x + 18, y, str(index + 1), "tick", "end"))
        parts.append(mark(entry.row.precision, x + 32, y - 4, _described(entry)))
        parts.append(text(x + 44, y, short(entry.name), "label"))
        values = f"{digits(entry.latency.median_ms)} ms · {_top1(entry):.2f} %"
        parts.append(text(x + wide - (24 if columns > 1 else 4), y, values, "tick", "end"))
    return "".join(parts), KEY * rows + 12


def _latency_axis(entries: Sequence[Entry], start: float, end: float) -> Axis:
    low, high = min(entry.latency.min_ms for entry in entries), max(entry.latency.p90_ms for entry in entries)
    if high > LOG_SPREAD * low > 0:
        return Axis(low / 1.3, high * 1.3, start, end, log=True)
    pad = (high - low) * 0.15 or high * 0.1
    return Axis(0.0 if low < high / 2 else low - pad, high + pad, start, end)


def _accuracy_axis(entries: Sequence[Entry], start: float, end: float) -> Axis:
    """At least one percentage point, so that a single image never looks like a gulf."""
    values = [_top1(entry) for entry in entries]
    half = max((max(values) - min(values)) * 0.7, 0.5)
    middle = (max(values) + min(values)) / 2
    return Axis(middle - half, middle + half, start, end)


def _captions(x_axis: Axis, y_axis: Axis, batch: int) -> str:
    scale = ", log scale" if x_axis.log else ""
    return (
        f'<text class="tick" x="{x_axis.end}" y="{y_axis.start + 40}" text-anchor="end">'
        f"median latency at batch {batch}, ms{scale}</text>"
        f'<text class="tick" x="0" y="{y_axis.end - 20}">top-1 accuracy, %</text>'
    )


def _bars(entries: Sequence[Entry], width: int) -> str:
    axis = Axis(0.0, max(entry.latency.p90_ms for entry in entries), 0, width - 80)
    parts = [f'<text class="tick" x="0" y="12">median latency at batch {entries[0].latency.batch}</text>']
    for index, entry in enumerate(entries):
        y, latency = 46 * index + 28, entry.latency
        low, median, high = (axis.at(value) for value in (latency.min_ms, latency.median_ms, latency.p90_ms))
        parts.append(f'<text class="label" x="0" y="{y + 14}">{html.escape(entry.name)}</text>')
        size = f'width="{max(median, 1):.1f}" height="12"'
        parts.append(f'<rect class="{entry.row.precision.value}" y="{y + 21}" {size}/>')
        parts.append(f'<path class="whisker" d="M{low:.1f} {y + 27}H{high:.1f}"/>')
        parts.append(f'<text class="tick" x="{max(median, high) + 8:.1f}" y="{y + 31}">')
        parts.append(f"{digits(latency.median_ms)} ms</text>")
    return "".join(parts)


def _mark(entry: Entry, point: Point) -> str:
    return mark(entry.row.precision, *point, _described(entry))


def _leader(point: Point, box: Box) -> str:
    """A thin line to a label that had to move away."""
    middle = (box.top + box.bottom) / 2
    if abs(middle - point[1]) <= LINE:
        return ""
    end = min(max(point[0], box.left), box.right)
    return f'<path class="leader" d="M{point[0]:.1f} {point[1]:.1f}L{end:.1f} {middle:.1f}"/>'


def _label(name: str, point: Point, box: Box) -> str:
    lean = (box.left + box.right) / 2 - point[0]
    anchor, x = ("start", box.left + MARGIN) if lean > 0 else ("end", box.right - MARGIN)
    if abs(lean) < 1:
        anchor, x = "middle", point[0]
    place = f'x="{x:.1f}" y="{box.bottom - 3.5:.1f}" text-anchor="{anchor}"'
    return f'<text class="label" {place}>{html.escape(name)}</text>'


def _top1(entry: Entry) -> float:
    return 100 * entry.row.accuracy.top1 if entry.row.accuracy is not None else math.nan


def _described(entry: Entry) -> str:
    latency, accuracy = entry.latency, entry.row.accuracy
    text = f"{entry.name}: {digits(latency.median_ms)} ms median ({digits(latency.min_ms)} to {digits(latency.p90_ms)})"
    return text if accuracy is None else f"{text}, top-1 {percent(accuracy.top1)}"
