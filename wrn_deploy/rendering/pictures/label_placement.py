"""Finds places for the labels of points in a picture, so that none covers another; plain geometry, in pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["LINE", "RADIUS", "Box", "Point", "place_labels", "spread_apart"]

Point = tuple[float, float]

LINE = 15.0  # the height of a label
RADIUS = 5.5  # of a point's mark
RINGS = 12  # distances tried above and below a point, in lines
COVERED, MISREAD = 100.0, 300.0  # costs: of a square pixel, and of a point nearer to the label than its own


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """The common area."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)

    def outside(self, frame: Box) -> float:
        """The area that lies outside the frame."""
        return (self.right - self.left) * (self.bottom - self.top) - self.overlap(frame)

    def distance(self, point: Point) -> float:
        """From the point to the nearest edge; 0 inside."""
        x, y = point
        return math.hypot(max(self.left - x, 0.0, x - self.right), max(self.top - y, 0.0, y - self.bottom))


def place_labels(points: Sequence[Point], widths: Sequence[float], taken: Sequence[Box], frame: Box) -> list[Box]:
    """A box for each point's label: as near as it can be, within the frame, on no other label and nothing `taken`.

    Labels are placed one after another, each at the best of its positions; the best of several orders is taken.
    """
    count = len(points)
    by_height = sorted(range(count), key=lambda index: points[index][1])
    orders = (list(range(count)), list(range(count))[::-1], by_height, by_height[::-1])
    return min((_placed(points, widths, taken, frame, order) for order in orders), key=lambda placed: placed[0])[1]


def _placed(
    points: Sequence[Point], widths: Sequence[float], taken: Sequence[Box], frame: Box, order: Sequence[int]
) -> tuple[float, list[Box]]:
    """The labels placed in one order, and what that costs."""
    boxes: dict[int, Box] = {}
    total = 0.0
    for index in order:
        own, obstacles = points[index], (*taken, *boxes.values())
        costs = {}
        for rank, box in enumerate(_candidates(*own, widths[index])):
            covered = sum(box.overlap(other) for other in obstacles) + box.outside(frame)
            misread = sum(box.distance(other) <= box.distance(own) for other in points if other != own)
            costs[box] = COVERED * covered + MISREAD * misread + rank**2
        boxes[index] = min(costs, key=costs.__getitem__)
        total += costs[boxes[index]]
    return total, [boxes[index] for index in range(len(points))]


def _candidates(x: float, y: float, width: float) -> Iterable[Box]:
    """Beside the point, above and below it, then further and further away."""
    beside = (x + RADIUS + 4, x - RADIUS - 4 - width)
    across = tuple(x - width * share for share in (0.5, 0.2, 0.8, 0.05, 0.95))
    for rise in (0, *(side * ring for ring in range(1, RINGS) for side in (-1, 1))):
        middle = y + rise * LINE
        for left in across if rise else beside:
            yield Box(left, middle - LINE / 2, left + width, middle + LINE / 2)


def spread_apart(wanted: Sequence[float], low: float, high: float) -> list[float]:
    """The rising heights, moved as little as leaves LINE between neighbours, all from `low` to `high`."""
    placed: list[float] = []
    for height in wanted:
        placed.append(max(height, placed[-1] + LINE) if placed else max(height, low))
    limit = high
    for index in range(len(placed) - 1, -1, -1):
        placed[index] = min(placed[index], limit)
        limit = placed[index] - LINE
    return placed
