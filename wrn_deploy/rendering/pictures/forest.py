"""Draws the paired ratios of the candidates with their intervals as a forest plot, with a line at 1."""

from __future__ import annotations

from markupsafe import Markup

from wrn_deploy.bench.report.ratios import Ratio
from wrn_deploy.bench.report.report import Report, Row
from wrn_deploy.formatting import one_line
from wrn_deploy.rendering.pictures.axis import Axis
from wrn_deploy.rendering.pictures.lanes import Lanes
from wrn_deploy.rendering.pictures.svg import Picture, circle, element, path, text
from wrn_deploy.rendering.table import verdict

__all__ = ["draw_ratios"]

LOG_FROM = 2.5
ROOM = 64.0  # pixels beside the line at 1 that a word there needs


def draw_ratios(report: Report, batch: int, width: int) -> Picture | None:
    """A lane for each row that has a ratio at the batch size; None: there is none."""
    derived = zip(report.rows, report.derived.rows, strict=True)
    found = [(row, ratio) for row, own in derived if (ratio := own.ratios.get(batch)) is not None]
    if not found:
        return None
    lanes = Lanes(width, len(found), top=28.0, values=140.0)
    low, high = min(0.99, *(ratio.low for _, ratio in found)), max(1.01, *(ratio.high for _, ratio in found))
    axis = Axis.around(low, high, lanes.left, lanes.right, log_from=LOG_FROM)
    body = [*lanes.grid(axis, f"time over the baseline's at batch {batch}"), *_line_at_1(axis, lanes)]
    for index, (row, ratio) in enumerate(found):
        body += [_interval(row, ratio, axis, lanes.middle(index)), *lanes.label(index, row.name, verdict(ratio))]
    return Picture(
        title=f"Times against {one_line(report.baseline or '')} at batch {batch}",
        described="; ".join(_describe(row, ratio) for row, ratio in found),
        width=width,
        height=lanes.height,
        body=body,
    )


def _line_at_1(axis: Axis, lanes: Lanes) -> list[Markup]:
    """The line, which leaves out texts above the lanes, and which side is which, in words."""
    x = axis.at(1.0)
    gaps = [] if lanes.wide else [lanes.middle(index) - 10 for index in range(lanes.count)]
    line = "".join(f"M{x:.1f} {top:g}v20" for top in gaps) or f"M{x:.1f} {lanes.top - 8:g}V{lanes.bottom:g}"
    parts = [path("one", line)]
    if x - lanes.left > ROOM:
        parts.append(text(x - 8, lanes.top - 12, "◂ faster", anchor="end"))
    if lanes.right - x > ROOM:
        parts.append(text(x + 8, lanes.top - 12, "slower ▸"))
    return parts


def _interval(row: Row, ratio: Ratio, axis: Axis, middle: float) -> Markup:
    """A thick line as long as the interval; the point is hollow if no difference is shown."""
    low, at, high = (axis.at(value) for value in (ratio.low, ratio.value, ratio.high))
    return element(
        "g",
        path(f"interval {row.precision}", f"M{low:.1f} {middle:g}H{high:.1f}"),
        circle(f"mark {row.precision}{'' if ratio.shown else ' hollow'}", at, middle, 3.5),
        tooltip=_describe(row, ratio),
    )


def _describe(row: Row, ratio: Ratio) -> str:
    return f"{one_line(row.name)}: {ratio.value:.3f}, {ratio.low:.3f} to {ratio.high:.3f}, {verdict(ratio)}"
