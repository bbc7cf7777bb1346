"""Draws throughput against batch size, a line a candidate, each named at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from wrn_deploy.bench.report.report import Report, Row
from wrn_deploy.formatting import digits, one_line
from wrn_deploy.rendering.pictures.axis import Axis, rules, scale
from wrn_deploy.rendering.pictures.label_placement import LINE, Label, draw_end_labels
from wrn_deploy.rendering.pictures.svg import WIDE, Picture, mark, path, short, text

__all__ = ["draw_batches"]

TOP, FOOT = 34.0, 46.0  # pixels: above and below
MIN_HEIGHT = 260.0  # pixels from top to bottom
LOG_FROM = 10.0


@dataclass(frozen=True, slots=True)
class _Curve:
    """One row: its images a second by batch size, in the order of the sizes."""

    row: Row
    points: tuple[tuple[int, float], ...]

    def describe(self) -> str:
        """In words."""
        values = ", ".join(f"{digits(rate)} at batch {batch}" for batch, rate in self.points)
        return f"{one_line(self.row.name)}: {values} images/s"


def draw_batches(report: Report, width: int) -> Picture | None:
    """A line for each row measured at two batch sizes or more; None: there is none."""
    curves = [
        _Curve(row, tuple(sorted((found.batch, found.images_per_s) for found in derived.latencies)))
        for row, derived in zip(report.rows, report.derived.rows, strict=True)
        if len(derived.latencies) > 1
    ]
    if not curves:
        return None
    wide, bottom = width >= WIDE, TOP + max(MIN_HEIGHT, LINE * len(curves))
    batches = sorted({batch for curve in curves for batch, _ in curve.points})
    x_axis = Axis(batches[0], batches[-1], 52, width - (236 if wide else 156), log=True)
    y_axis = _rates(curves, bottom)
    middle = (x_axis.start + x_axis.end) / 2
    return Picture(
        title="Throughput against batch size",
        described="; ".join(curve.describe() for curve in curves),
        width=width,
        height=bottom + FOOT,
        body=[
            *rules(y_axis, x_axis.start, x_axis.end),
            *scale(x_axis, bottom, width=width, ticks=[(batch, str(batch)) for batch in batches]),
            text(middle, bottom + 40, x_axis.caption("batch size"), anchor="middle"),
            text(0, 14, y_axis.caption("images/s")),
            *(part for curve in curves for part in _line(curve, x_axis, y_axis)),
            *_names(curves, x_axis, y_axis, 30 if wide else 17),
        ],
    )


def _rates(curves: Sequence[_Curve], bottom: float) -> Axis:
    rates = [rate for curve in curves for _, rate in curve.points]
    if max(rates) > LOG_FROM * min(rates) > 0:
        return Axis(min(rates) / 1.4, max(rates) * 1.2, bottom, TOP, log=True)
    return Axis(0.0, max(rates) * 1.05 or 1.0, bottom, TOP)


def _line(curve: _Curve, x_axis: Axis, y_axis: Axis) -> list[Markup]:
    at = [(x_axis.at(batch), y_axis.at(rate)) for batch, rate in curve.points]
    line, words = "L".join(f"{x:.1f} {y:.1f}" for x, y in at), curve.describe()
    marks = (mark(curve.row.precision, x, y, words) for x, y in at)
    return [path(f"curve {curve.row.precision}", f"M{line}", words), *marks]


def _names(curves: Sequence[_Curve], x_axis: Axis, y_axis: Axis, longest: int) -> list[Markup]:
    last = [(*curve.points[-1], short(curve.row.name, longest)) for curve in curves]
    labels = [Label((x_axis.at(batch), y_axis.at(rate)), name) for batch, rate, name in last]
    return draw_end_labels(labels, x_axis.end + 22, y_axis.end, y_axis.start)
