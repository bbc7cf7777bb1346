"""Draws throughput against batch size, a line a contender, each named at its end."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from wrn_deploy.bench.report.report import Report, Row, summarize
from wrn_deploy.formatting import digits, one_line
from wrn_deploy.rendering.pictures.axes import Axis
from wrn_deploy.rendering.pictures.canvas import WIDE, drawing, mark, short, text
from wrn_deploy.rendering.pictures.label_placement import LINE, spread_apart

__all__ = ["batch_sweep"]

TOP, FOOT = 34.0, 46.0  # pixels: above and below
LEAST = 260.0  # pixels from top to bottom
LOG_SPREAD = 10.0


@dataclass(frozen=True, slots=True)
class _Curve:
    """One row: its images a second by batch size, in the order of the sizes."""

    row: Row
    points: tuple[tuple[int, float], ...]

    @property
    def told(self) -> str:
        """The curve in words."""
        values = ", ".join(f"{digits(rate)} at batch {batch}" for batch, rate in self.points)
        return f"{one_line(self.row.name)}: {values} images/s"


def batch_sweep(report: Report, width: int) -> str:
    """An `<svg>`, or nothing where no row was measured at two batch sizes."""
    curves = [curve for row in report.rows if len((curve := _curve(report, row)).points) > 1]
    if not curves:
        return ""
    wide = width >= WIDE
    bottom = TOP + max(LEAST, LINE * len(curves))
    right = width - (236 if wide else 156)
    batches = sorted({batch for curve in curves for batch, _ in curve.points})
    x_axis = Axis(batches[0], batches[-1], 52, right, log=True)
    y_axis = _rates(curves, bottom)
    parts = [_grid(x_axis, y_axis, batches), text(0, 14, "images/s" + (", log scale" if y_axis.log else ""))]
    parts += [_line(curve, x_axis, y_axis) for curve in curves]
    parts += _names(curves, x_axis, y_axis, 30 if wide else 17)
    titles = ("Throughput against batch size", "; ".join(curve.told for curve in curves))
    return drawing(f"sweep-{width}", titles, (width, bottom + FOOT), "".join(parts))


def _curve(report: Report, row: Row) -> _Curve:
    found = [summarize(latency, report.settings.streams) for latency in row.latencies]
    return _Curve(row, tuple(sorted((one.batch, one.images_per_s) for one in found)))


def _rates(curves: Sequence[_Curve], bottom: float) -> Axis:
    rates = [rate for curve in curves for _, rate in curve.points]
    if max(rates) > LOG_SPREAD * min(rates) > 0:
        return Axis(min(rates) / 1.4, max(rates) * 1.2, bottom, TOP, log=True)
    return Axis(0.0, max(rates) * 1.05 or 1.0, bottom, TOP)


def _grid(x_axis: Axis, y_axis: Axis, batches: Sequence[int]) -> str:
    left, right, bottom = x_axis.start, x_axis.end, y_axis.start
    parts, taken = [], -1e9
    for value, words in y_axis.labelled_ticks():
        y = y_axis.at(value)
        parts.append(f'<path class="grid" d="M{left:g} {y:.1f}H{right:g}"/>')
        parts.append(text(left - 8, y + 4, words, anchor="end"))
    for batch in batches:
        x, half = x_axis.at(batch), len(str(batch)) * 3.5
        parts.append(f'<path class="axis" d="M{x:.1f} {bottom:g}v5"/>')
        if x - half > taken:
            parts.append(text(x, bottom + 19, str(batch), anchor="middle"))
            taken = x + half + 6
    parts.append(f'<path class="axis" d="M{left:g} {bottom:g}H{right:g}"/>')
    parts.append(text((left + right) / 2, bottom + 40, "batch size, log scale", anchor="middle"))
    return "".join(parts)


def _line(curve: _Curve, x_axis: Axis, y_axis: Axis) -> str:
    at = [(x_axis.at(batch), y_axis.at(rate)) for batch, rate in curve.points]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in at)
    style = curve.row.precision.value
    marks = "".join(mark(curve.row.precision, x, y, curve.told) for x, y in at)
    return f'<path class="curve {style}" d="M{path}"><title>{html.escape(curve.told)}</title></path>{marks}'


def _names(curves: Sequence[_Curve], x_axis: Axis, y_axis: Axis, longest: int) -> list[str]:
    """Each name at the height of its line's end, or as near as the others let it, with a thin line to it."""
    ends = sorted(((x_axis.at(batch), y_axis.at(rate), curve.row) for curve in curves
                   for batch, rate in curve.points[-1:]), key=lambda end: end[1])  # fmt: skip
    heights = spread_apart([y for _, y, _ in ends], y_axis.end, y_axis.start)
    parts = []
    for (x, y, row), height in zip(ends, heights, strict=True):
        start = x_axis.end + 22
        parts.append(f'<path class="leader" d="M{x + 8:.1f} {y:.1f}L{start - 4:.1f} {height:.1f}"/>')
        parts.append(text(start, height + 4, short(row.name, longest), "label"))
    return parts
