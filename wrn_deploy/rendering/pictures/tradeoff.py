"""Draws latency against top-1 accuracy: numbered points with a key below, and what is known of the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from wrn_deploy.bench.report.derived import Front, Ranked
from wrn_deploy.bench.report.report import Report
from wrn_deploy.formatting import digits, one_line, percent
from wrn_deploy.rendering.pictures.axis import Axis, rules, scale
from wrn_deploy.rendering.pictures.bars import latency_bars
from wrn_deploy.rendering.pictures.label_placement import Box, Label, Point, around, draw_labels
from wrn_deploy.rendering.pictures.svg import WIDE, Picture, circle, mark, path, short, text

__all__ = ["draw_tradeoff", "has_accuracy"]

HEIGHT = 380  # without the key
LOG_FROM = 10.0
LINE = 19.0  # pixels of the key
RADIUS, RING = 5.5, 7.5  # pixels: of a mark, and of the ring around a point of the front
LONGEST, LONGEST_IN_KEY = {True: 30, False: 20}, {True: 30, False: 24}  # letters of a name, on a desk and on a phone


def has_accuracy(report: Report) -> bool:
    """Whether two rows or more were timed at the smallest batch size, all with accuracy, and weights not random."""
    ranking = report.derived.ranking
    return bool(ranking) and ranking[0].front is not None


def draw_tradeoff(report: Report, width: int) -> Picture | None:
    """The picture of `width` pixels: a bar for each row if `has_accuracy` is False; None: nothing was timed."""
    ranking = report.derived.ranking
    if not has_accuracy(report):
        return latency_bars(ranking, width) if ranking else None
    key, more = _key(ranking, width)
    return Picture(
        title=f"Latency against top-1 accuracy at batch {ranking[0].latency.batch}",
        described=f"{'; '.join(map(_describe, ranking))}. {_describe_front(ranking)}",
        width=width,
        height=HEIGHT + more,
        body=[*_scatter(ranking, report.reference, width), *key],
    )


def _describe_front(ranking: Sequence[Ranked]) -> str:
    on, undecided = (
        ", ".join(one_line(one.row.name) for one in ranking if one.front is front) for front in (Front.ON, Front.OPEN)
    )
    return ". ".join(
        [
            f"Each other one is shown to be slower or less accurate than: {on or 'none'}",
            *([f"Not decided, within the intervals, for: {undecided}"] if undecided else []),
        ]
    )


def _scatter(ranking: Sequence[Ranked], reference: str | None, width: int) -> list[Markup]:
    """The axes, the front, and each point with its whisker and its number, a few with their names too."""
    x_axis = _latency_axis(ranking, 46, width - 14)
    y_axis = Axis.of_percents([_top1(one) for one in ranking], HEIGHT - 46, 34, room=0.7)
    placed = [(one, (x_axis.at(one.latency.median_ms), y_axis.at(_top1(one)))) for one in ranking]
    whiskers = [
        Box(x_axis.at(one.latency.min_ms), y - 1.5, x_axis.at(one.latency.p90_ms), y + 1.5) for one, (_, y) in placed
    ]
    on_front = [point for one, point in placed if one.front is Front.ON]
    rings = [
        ("ring" if one.front is Front.ON else "ring open", point) for one, point in placed if one.front is not Front.OFF
    ]
    named = [one for one in ranking if one in (ranking[0], max(ranking, key=_top1)) or one.row.name == reference]
    labels = [
        Label(point, f"{number} {short(one.row.name, LONGEST[width >= WIDE])}" if one in named else str(number))
        for number, (one, point) in enumerate(placed, start=1)
    ]
    labels.sort(key=lambda label: not label.words.isdigit())  # numbers need to stand near
    taken = [*whiskers, *(around(point, RING) for _, point in placed)]
    caption = x_axis.caption(f"median latency at batch {ranking[0].latency.batch}, ms")
    return [
        *rules(y_axis, x_axis.start, x_axis.end, (0, 100)),
        *scale(x_axis, y_axis.start, width=width),
        text(x_axis.end, y_axis.start + 40, caption, anchor="end"),
        text(0, y_axis.end - 20, "top-1 accuracy, %"),
        *([path("front", _steps(on_front, x_axis.end))] if on_front else []),
        *(circle(kind, x, y, RING) for kind, (x, y) in rings),
        *(path("whisker", f"M{box.left:.1f} {box.middle[1]:.1f}H{box.right:.1f}") for box in whiskers),
        *draw_labels(labels, taken, Box(46, 30, width, HEIGHT - 50)),
        *(mark(one.row.precision, x, y, _describe(one)) for one, (x, y) in placed),
    ]


def _steps(front: Sequence[Point], end: float) -> str:
    """The best accuracy available at each latency."""
    return f"M{front[0][0]:.1f} {front[0][1]:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in front[1:]) + f"H{end:g}"


def _key(ranking: Sequence[Ranked], width: int) -> tuple[list[Markup], float]:
    """The names by number, in two columns on a desk, and the height they need."""
    columns = 2 if width >= WIDE else 1
    lines, wide = -(-len(ranking) // columns), width / columns
    parts = []
    for index, one in enumerate(ranking):
        x, y = (index // lines) * wide, HEIGHT + LINE * (index % lines) + 16
        values = f"{digits(one.latency.median_ms)} ms · {percent(_top1(one) / 100)}"
        parts += [
            text(x + 18, y, str(index + 1), anchor="end"),
            mark(one.row.precision, x + 32, y - 4, _describe(one)),
            text(x + 44, y, short(one.row.name, LONGEST_IN_KEY[width >= WIDE]), "label"),
            text(x + wide - (24 if columns > 1 else 4), y, values, anchor="end"),
        ]
    return parts, LINE * lines + 12


def _latency_axis(ranking: Sequence[Ranked], start: float, end: float) -> Axis:
    """From 0 if the shortest time is less than half of the longest."""
    low, high = min(one.latency.min_ms for one in ranking), max(one.latency.p90_ms for one in ranking)
    if high / LOG_FROM <= low < high / 2:
        return Axis(0.0, high * 1.08, start, end)
    return Axis.around(low, high, start, end, log_from=LOG_FROM)


def _top1(one: Ranked) -> float:
    assert one.row.accuracy is not None
    return 100 * one.row.accuracy.top1


def _describe(one: Ranked) -> str:
    found, accuracy = one.latency, one.row.accuracy
    assert accuracy is not None
    times = f"{digits(found.median_ms)} ms median ({digits(found.min_ms)} to {digits(found.p90_ms)})"
    return f"{one_line(one.row.name)}: {times}, top-1 {percent(accuracy.top1)}"
