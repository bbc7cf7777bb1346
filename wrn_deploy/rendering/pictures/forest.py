"""Draws the paired ratios of the contenders with their intervals as a forest plot, with a line at 1."""

from __future__ import annotations

import html
from collections.abc import Sequence

from wrn_deploy.bench.report.ratios import Ratio
from wrn_deploy.bench.report.report import Report, Row
from wrn_deploy.formatting import one_line
from wrn_deploy.rendering.pictures.axes import Axis
from wrn_deploy.rendering.pictures.canvas import drawing, text
from wrn_deploy.rendering.pictures.lanes import Lanes
from wrn_deploy.rendering.table import verdict

__all__ = ["forest"]

LOG_SPREAD = 2.5
ROOM = 64.0  # pixels beside the line at 1 that a word there needs


def forest(report: Report, batch: int, width: int) -> str:
    """An `<svg>` with a lane for each row that has a ratio at the batch size; nothing where there is none."""
    found = [(row, ratio) for row in report.rows if (ratio := report.ratio(row, batch)) is not None]
    if not found:
        return ""
    baseline = one_line(report.baseline or "")
    lanes = Lanes(width, len(found), top=28.0, values=140.0)
    axis = _axis([ratio for _, ratio in found], lanes)
    parts = [lanes.grid(axis, f"time over the baseline's at batch {batch}"), _line_at_1(axis, lanes)]
    for index, (row, ratio) in enumerate(found):
        parts += [_interval(row, ratio, axis, lanes.middle(index)), lanes.label(index, row.name, verdict(ratio))]
    titles = (f"Times against {baseline} at batch {batch}", "; ".join(_told(row, ratio) for row, ratio in found))
    return drawing(f"ratios-{batch}-{width}", titles, (width, lanes.height), "".join(parts))


def _axis(ratios: Sequence[Ratio], lanes: Lanes) -> Axis:
    low, high = min(1.0, *(ratio.low for ratio in ratios)), max(1.0, *(ratio.high for ratio in ratios))
    if high > LOG_SPREAD * low > 0:
        return Axis(low / 1.12, high * 1.12, lanes.left, lanes.right, log=True)
    pad = max((high - low) * 0.1, 0.02)
    return Axis(low - pad, high + pad, lanes.left, lanes.right)


def _line_at_1(axis: Axis, lanes: Lanes) -> str:
    """The line, which leaves out texts above the lanes, and which side is which, in words."""
    x = axis.at(1.0)
    gaps = [] if lanes.wide else [lanes.middle(index) - 10 for index in range(lanes.count)]
    path = "".join(f"M{x:.1f} {top:g}v20" for top in gaps) or f"M{x:.1f} {lanes.top - 8:g}V{lanes.bottom:g}"
    parts = [f'<path class="one" d="{path}"/>']
    if x - lanes.left > ROOM:
        parts.append(text(x - 8, lanes.top - 12, "◂ faster", anchor="end"))
    if lanes.right - x > ROOM:
        parts.append(text(x + 8, lanes.top - 12, "slower ▸"))
    return "".join(parts)


def _interval(row: Row, ratio: Ratio, axis: Axis, middle: float) -> str:
    """A thick line as long as the interval; the point is hollow where no difference is shown."""
    low, at, high = (axis.at(value) for value in (ratio.low, ratio.value, ratio.high))
    hollow = "" if ratio.shown else " hollow"
    return (
        f"<g><title>{html.escape(_told(row, ratio))}</title>"
        f'<path class="interval {row.precision.value}" d="M{low:.1f} {middle:g}H{high:.1f}"/>'
        f'<circle class="mark {row.precision.value}{hollow}" cx="{at:.1f}" cy="{middle:g}" r="3.5"/></g>'
    )


def _told(row: Row, ratio: Ratio) -> str:
    return f"{one_line(row.name)}: {ratio.value:.3f}, {ratio.low:.3f} to {ratio.high:.3f}, {verdict(ratio)}"
