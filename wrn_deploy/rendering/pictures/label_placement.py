"""Finds places for the labels of points, so that none covers another, and draws them; plain geometry, in pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from wrn_deploy.rendering.pictures.svg import LETTER, path, text

__all__ = ["LINE", "Box", "Label", "Point", "around", "draw_end_labels", "draw_labels", "place_labels"]

Point = tuple[float, float]

LINE = 15.0  # the height of a label
GAP = 9.5  # from a point to a label beside it
MARGIN = 3.0  # at both ends of a label
RINGS = 18  # distances tried above and below a point, in lines


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """From left to right."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """From top to bottom."""
        return self.bottom - self.top

    @property
    def middle(self) -> Point:
        """The centre."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def touches(self, other: Box) -> bool:
        """Whether they have an area in common."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def holds(self, other: Box) -> bool:
        """Whether the other lies within it."""
        inside = self.left <= other.left and other.right <= self.right
        return inside and self.top <= other.top and other.bottom <= self.bottom

    def distance(self, point: Point) -> float:
        """From the point to the nearest edge; 0 inside."""
        x, y = point
        return math.hypot(max(self.left - x, 0.0, x - self.right), max(self.top - y, 0.0, y - self.bottom))


@dataclass(frozen=True, slots=True)
class Label:
    """Words for a point; `kind` are CSS classes, `style` is CSS."""

    point: Point
    words: str
    kind: str = "label"
    style: str = ""


def around(point: Point, radius: float) -> Box:
    """The square around a point."""
    return Box(point[0] - radius, point[1] - radius, point[0] + radius, point[1] + radius)


def place_labels(points: Sequence[Point], words: Sequence[str], taken: Sequence[Box], frame: Box) -> list[Box]:
    """A box for each point's label: the nearest place within the frame that covers no other label and nothing `taken`.

    The labels are placed in order: put first those that should be nearest. A place that is nearer to another point than
    to its own is used only if no other is free.
    """
    placed: list[Box] = []
    for own, label in zip(points, words, strict=True):
        covered = [*taken, *placed]
        places = [box for box in _places(own, len(label) * LETTER + 2 * MARGIN) if frame.holds(box)]
        free = [box for box in places if not any(box.touches(other) for other in covered)]
        others = [point for point in points if point != own]
        clear = (box for box in free if all(box.distance(own) < box.distance(other) for other in others))
        placed.append(next(clear, None) or next(iter(free or places), around(own, LINE / 2)))
    return placed


def draw_labels(labels: Sequence[Label], taken: Sequence[Box], frame: Box) -> list[Markup]:
    """The labels where `place_labels` puts them, each with a thin line to its point if it had to move away."""
    parts = []
    boxes = place_labels([label.point for label in labels], [label.words for label in labels], taken, frame)
    for label, box in zip(labels, boxes, strict=True):
        (x, y), (center, middle) = label.point, box.middle
        if abs(middle - y) > LINE:
            end = min(max(x, box.left), box.right)
            parts.append(path("leader", f"M{x:.1f} {y:.1f}L{end:.1f} {middle:.1f}"))
        anchor, start = ("start", box.left + MARGIN) if center > x else ("end", box.right - MARGIN)
        if abs(center - x) < 1:
            anchor, start = "middle", x
        parts.append(text(start, box.bottom - 3.5, label.words, label.kind, anchor))
    return parts


def draw_end_labels(labels: Sequence[Label], x: float, low: float, high: float) -> list[Markup]:
    """Names of lines from `x` on, each about as high as its line's end, with a thin line to it."""
    ordered = sorted(labels, key=lambda label: label.point[1])
    parts = []
    for label, height in zip(ordered, _spread_apart([label.point[1] for label in ordered], low, high), strict=True):
        end_x, end_y = label.point
        parts.append(path("leader", f"M{end_x + 8:.1f} {end_y:.1f}L{x - 4:.1f} {height:.1f}"))
        parts.append(text(x, height + 4, label.words, label.kind, style=label.style))
    return parts


def _spread_apart(wanted: Sequence[float], low: float, high: float) -> list[float]:
    """The rising heights from `low` to `high`, moved as little as possible to be LINE apart."""
    placed: list[float] = []
    for height in wanted:
        placed.append(max(height, placed[-1] + LINE) if placed else max(height, low))
    limit = high
    for index in range(len(placed) - 1, -1, -1):
        placed[index] = min(placed[index], limit)
        limit = placed[index] - LINE
    return placed


def _places(point: Point, width: float) -> Iterator[Box]:
    """Beside the point, above and below it, then further and further away."""
    x, y = point
    across = tuple(x - width * fraction for fraction in (0.5, 0.2, 0.8, 0.0, 1.0))
    for rise in (0, *(side * ring for ring in range(1, RINGS) for side in (-1, 1))):
        middle = y + rise * LINE
        for left in across if rise else (x + GAP, x - GAP - width):
            yield Box(left, middle - LINE / 2, left + width, middle + LINE / 2)
