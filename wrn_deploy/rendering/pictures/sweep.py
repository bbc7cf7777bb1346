"""Draws throughput against batch size, a line a candidate, each named at its end."""

from __future__ import annotations

from collections.abc import Sequence

from wrn_deploy.bench.report.report import Report
from wrn_deploy.formatting import digits, one_line
from wrn_deploy.rendering.pictures.axis import Axis, rules, scale
from wrn_deploy.rendering.pictures.label_placement import LINE, Label, draw_end_labels
from wrn_deploy.rendering.pictures.svg import WIDE, Picture, mark, path, short, text

__all__ = ["draw_batches"]

TOP, FOOT = 34.0, 46.0  # pixels: above and below
MIN_HEIGHT = 260.0  # pixels from top to bottom
LOG_FROM = 10.0


def draw_batches(report: Report, width: int) -> Picture | None:
    """A line for each row measured at two batch sizes or more; None: none was."""
    curves = [
        (row, sorted((found.batch, found.images_per_s) for found in derived.latencies))
        for row, derived in zip(report.rows, report.derived.rows, strict=True)
        if len(derived.latencies) > 1
    ]
    if not curves:
        return None
    wide, bottom = width >= WIDE, TOP + max(MIN_HEIGHT, LINE * len(curves))
    batches = sorted({batch for _, points in curves for batch, _ in points})
    x_axis = Axis(batches[0], batches[-1], 52, width - (236 if wide else 156), log=True)
    y_axis = _rate_axis([rate for _, points in curves for _, rate in points], bottom)
    body = [
        *rules(y_axis, x_axis.start, x_axis.end),
        *scale(x_axis, bottom, width=width, ticks=[(batch, str(batch)) for batch in batches]),
        text((x_axis.start + x_axis.end) / 2, bottom + 40, x_axis.caption("batch size"), anchor="middle"),
        text(0, 14, y_axis.caption("images/s")),
    ]
    described, names = [], []
    for row, points in curves:
        values = ", ".join(f"{digits(rate)} at batch {batch}" for batch, rate in points)
        described.append(f"{one_line(row.name)}: {values} images/s")
        at = [(x_axis.at(batch), y_axis.at(rate)) for batch, rate in points]
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in at)
        body.append(path(f"curve {row.precision}", f"M{line}", described[-1]))
        body += [mark(row.precision, x, y, described[-1]) for x, y in at]
        names.append(Label(at[-1], short(row.name, 30 if wide else 17)))
    body += draw_end_labels(names, x_axis.end + 22, y_axis.end, y_axis.start)
    title = "Throughput against batch size"
    return Picture(title=title, described="; ".join(described), width=width, height=bottom + FOOT, body=body)


def _rate_axis(rates: Sequence[float], bottom: float) -> Axis:
    if max(rates) > LOG_FROM * min(rates) > 0:
        return Axis(min(rates) / 1.4, max(rates) * 1.2, bottom, TOP, log=True)
    return Axis(0.0, max(rates) * 1.05 or 1.0, bottom, TOP)
