"""Draws what the default of `calibrate` and its neighbours cost, against how near to fp32 their logits are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from benchmarks.pages.int8_results import DEFAULT, JPEG, Results, Scored, unbeaten
from wrn_deploy.formatting import digits
from wrn_deploy.rendering.pictures.axis import Axis, rules, scale
from wrn_deploy.rendering.pictures.label_placement import Box, Label, Point, around, draw_end_labels, draw_labels
from wrn_deploy.rendering.pictures.svg import LETTER, Picture, circle, element, path, text

__all__ = ["draw_frontier"]

WIDTH, HEIGHT = 840, 430  # of a panel
LEFT, RIGHT, TOP, BOTTOM = 60, WIDTH - 12, 66, HEIGHT - 58
DIAMOND = "M0-8 8 0 0 8-8 0z"
CLOSE = 36.0  # pixels between two points
FAN = 44.0  # pixels between the points and the names at the right
KINDS = {DEFAULT: "label strong"}
SPAN = 3.0  # the smallest ratio of an axis' ends: at least two ticks, and small differences look small


def draw_frontier(results: Sequence[Results]) -> Picture | None:
    """One panel for each network, below each other; None: nothing was measured."""
    drawn = [one for one in results if one.frontier]
    if not drawn:
        return None
    body: list[Markup] = []
    for index, one in enumerate(drawn):
        panel = element("g", *_panel(one), transform=f"translate(0 {index * HEIGHT})")
        body.append(panel)
    return Picture(
        title="Cost of calibration against the error of the int8 logits",
        described=" ".join(_describe(one) for one in drawn),
        width=WIDTH,
        height=HEIGHT * len(drawn),
        body=body,
    )


def _panel(results: Results) -> list[Markup]:
    rows, front = results.frontier, unbeaten(results.frontier)
    y_axis = _axis([row.logit_error for row in rows], BOTTOM, TOP)
    x_axis = _axis([row.cpu_s for row in rows], LEFT, RIGHT)
    crowded = _crowded({row.name: _place(row, x_axis, y_axis) for row in rows})
    if crowded:
        column = RIGHT - max(len(_name(row)) for row in rows if row.name in crowded) * LETTER
        x_axis = _axis([row.cpu_s for row in rows], LEFT, column - FAN)
    at = {row.name: _place(row, x_axis, y_axis) for row in rows}
    labels = {row.name: Label(at[row.name], _name(row), KINDS.get(row.name, "label")) for row in rows}
    beside = [labels.pop(row.name) for row in rows if row.name not in crowded]
    line = [at[row.name] for row in front]
    taken = [around(point, 8.0 if name == DEFAULT else 5.5) for name, point in at.items()]
    taken += [around(point, 2.0) for point in _along(line)]
    images = results.rows[rows[0].name]["accuracy"][JPEG]["images"]
    about = "Diamond: the default; others: one thing of it changed. Joined: no other is as cheap and as near to fp32."
    return [
        text(0, 16, results.model, "title"),
        text(0, 36, about, "about"),
        *rules(y_axis, LEFT, x_axis.end),
        *scale(x_axis, BOTTOM, width=WIDTH),
        text(x_axis.end, BOTTOM + 40, x_axis.caption("CPU seconds of the whole calibration"), anchor="end"),
        text(0, TOP - 12, y_axis.caption(f"mean squared error of the logits on {images:,} JPEG test images")),
        *(draw_end_labels([*labels.values()], column, TOP, BOTTOM - 4) if crowded else ()),
        path("ladder", "M" + "L".join("{:.1f} {:.1f}".format(*point) for point in line)),
        *draw_labels(beside, taken, Box(LEFT + 2, TOP - 4, x_axis.end + FAN, BOTTOM - 2)),
        *(_mark(row, at[row.name], on_front=row in front) for row in [*rows[1:], rows[0]]),
    ]


def _place(row: Scored, x_axis: Axis, y_axis: Axis) -> Point:
    return x_axis.at(row.cpu_s), y_axis.at(row.logit_error)


def _along(line: Sequence[Point]) -> list[Point]:
    """Points on the line, so near to each other that no label fits between them."""
    found = []
    for (x, y), (next_x, next_y) in itertools.pairwise(line):
        steps = math.ceil(math.dist((x, y), (next_x, next_y)) / 4.0)
        found += [(x + (next_x - x) * step / steps, y + (next_y - y) * step / steps) for step in range(1, steps)]
    return found


def _crowded(points: Mapping[str, Point]) -> set[str]:
    """The rows that have another one close by: their names stand at the right. The default's stays at its point."""
    pairs = itertools.permutations(points.items(), 2)
    return {name for (name, one), (_, other) in pairs if math.dist(one, other) < CLOSE} - {DEFAULT}


def _mark(row: Scored, point: Point, *, on_front: bool) -> Markup:
    if row.name == DEFAULT:
        return path("chosen", DIAMOND, _words(row), transform="translate({:.1f} {:.1f})".format(*point))
    return circle("step" if on_front else "mark other", *point, 4.5, tooltip=_words(row))


def _axis(values: Sequence[float], start: float, end: float) -> Axis:
    """Logarithmic, with room at both ends."""
    low, high = min(values) / 1.1, max(values) * 1.1
    room = max(1.0, SPAN * low / high) ** 0.5
    return Axis(low / room, high * room, start, end, log=True)


def _name(row: Scored) -> str:
    return "default" if row.name == DEFAULT else row.name.removeprefix("ours, ")


def _words(row: Scored) -> str:
    return f"{_name(row)}: {digits(row.cpu_s)} CPU s, error {digits(row.logit_error)}"


def _describe(results: Results) -> str:
    front = ", ".join(map(_name, unbeaten(results.frontier)))
    return f"{results.model}: {'; '.join(map(_words, results.frontier))}. Nothing is cheaper and nearer than: {front}."
