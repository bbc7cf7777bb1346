"""Draws what the default of `calibrate` and its neighbours cost, against how near to fp32 their logits are."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from benchmarks.pages.int8_results import DEFAULT, JPEG, Results, Scored, unbeaten
from wrn_deploy.formatting import digits
from wrn_deploy.rendering.pictures.axis import Axis, rules, scale
from wrn_deploy.rendering.pictures.label_placement import Box, Label, Point, around, draw_labels
from wrn_deploy.rendering.pictures.svg import Picture, circle, element, path, text

__all__ = ["draw_frontier"]

WIDTH, HEIGHT = 840, 430  # of a panel
LEFT, RIGHT, TOP, BOTTOM = 60, WIDTH - 12, 66, HEIGHT - 58
DIAMOND = "M0-8 8 0 0 8-8 0z"
SPAN = 3.0  # the smallest ratio of an axis' ends, so that small differences look small


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
    x_axis = _axis([row.cpu_s for row in rows], LEFT, RIGHT)
    y_axis = _axis([row.logit_error for row in rows], BOTTOM, TOP)

    def at(row: Scored) -> Point:
        return x_axis.at(row.cpu_s), y_axis.at(row.logit_error)

    images = results.rows[rows[0].name]["accuracy"][JPEG]["images"]
    about = "Diamond: the default. Others: the default with one thing changed. Joined: nothing is cheaper and nearer."
    parts = [
        text(0, 16, results.model, "title"),
        text(0, 36, about, "about"),
        *rules(y_axis, LEFT, RIGHT),
        *scale(x_axis, BOTTOM, width=WIDTH),
        text(RIGHT, BOTTOM + 40, x_axis.caption("CPU seconds of the whole calibration"), anchor="end"),
        text(0, TOP - 12, y_axis.caption(f"mean squared error of the logits on {images:,} test images")),
        path("ladder", "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in map(at, front))),
    ]
    # Those to read first get the nearest places.
    named = sorted(rows, key=lambda row: (row.name != DEFAULT, row not in front))
    labels = [Label(at(row), _name(row), "label strong" if row.name == DEFAULT else "label") for row in named]
    taken = [around(at(row), 8.0 if row.name == DEFAULT else 5.5) for row in rows]
    parts += draw_labels(labels, taken, Box(LEFT + 2, TOP - 4, WIDTH, BOTTOM - 2))
    for row in rows:
        x, y = at(row)
        if row.name == DEFAULT:
            parts.append(path("chosen", DIAMOND, _words(row), transform=f"translate({x:.1f} {y:.1f})"))
        elif row in front:
            parts.append(circle("step", x, y, 4.5, tooltip=_words(row)))
        else:
            parts.append(circle("mark other", x, y, 4, tooltip=_words(row)))
    return parts


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
