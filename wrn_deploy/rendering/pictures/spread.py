"""Draws how certain times are: ratios with intervals as a forest plot, and the spread of each candidate's samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from wrn_deploy.bench.report.derived import LatencySummary
from wrn_deploy.bench.report.report import Report, Row
from wrn_deploy.bench.report.verdicts import Conclusion, Verdict
from wrn_deploy.formatting import digits, one_line, ratio_number
from wrn_deploy.rendering.pictures.axis import Axis
from wrn_deploy.rendering.pictures.lanes import Lanes
from wrn_deploy.rendering.pictures.svg import Picture, circle, element, path, text

__all__ = ["draw_ratios", "draw_spread"]

RATIOS_LOG_FROM = 2.5
ROOM = 64.0  # pixels beside the line at 1 that a word there needs
LOG_FROM, RELATIVE = 3.0, 30.0  # longest over shortest time: from here on logarithmic, or each over its own median
BIN, HALF, THIN = 4.0, 10.0, 0.3  # pixels: the width of a bin; half the height of the fullest, and of an empty one


def draw_ratios(report: Report, batch: int, width: int) -> Picture | None:
    """A lane for each row that is compared with the baseline at the batch size; None: none is.

    A lane without a ratio to quote has the verdict in words alone, one with a bound the interval without a point.
    """
    derived = zip(report.rows, report.derived.rows, strict=True)
    found = [(row, verdict) for row, own in derived if (verdict := own.ratios.get(batch)) is not None]
    if not found:
        return None
    lanes = Lanes(width, len(found), top=28.0, values=160.0)
    low = min([0.99, *(verdict.low for _, verdict in found if verdict.low is not None)])
    high = max([1.01, *(verdict.high for _, verdict in found if verdict.high is not None)])
    axis = Axis.around(low, high, lanes.left, lanes.right, log_from=RATIOS_LOG_FROM)
    body = [*lanes.grid(axis, f"time over the baseline's at batch {batch}"), *_line_at_1(axis, lanes)]
    for index, (row, verdict) in enumerate(found):
        body += [*_interval(row, verdict, axis, lanes.middle(index)), *lanes.label(index, row.name, verdict.words)]
    return Picture(
        title=f"Times against {one_line(report.baseline or '')} at batch {batch}",
        described="; ".join(_describe_ratio(row, verdict) for row, verdict in found),
        width=width,
        height=lanes.height,
        body=body,
    )


def _line_at_1(axis: Axis, lanes: Lanes) -> list[Markup]:
    """The line, broken at the texts above the lanes, with the sides named."""
    x = axis.at(1.0)
    gaps = [] if lanes.wide else [lanes.middle(index) - 10 for index in range(lanes.count)]
    line = "".join(f"M{x:.1f} {top:g}v20" for top in gaps) or f"M{x:.1f} {lanes.top - 8:g}V{lanes.bottom:g}"
    parts = [path("one", line)]
    if x - lanes.left > ROOM:
        parts.append(text(x - 8, lanes.top - 12, "◂ faster", anchor="end"))
    if lanes.right - x > ROOM:
        parts.append(text(x + 8, lanes.top - 12, "slower ▸"))
    return parts


def _interval(row: Row, verdict: Verdict, axis: Axis, middle: float) -> list[Markup]:
    """A thick line as long as the interval; the point is hollow if no difference is shown."""
    if verdict.low is None or verdict.high is None:
        return []
    parts = [path(f"interval {row.precision}", f"M{axis.at(verdict.low):.1f} {middle:g}H{axis.at(verdict.high):.1f}")]
    if verdict.ratio is not None:
        hollow = " hollow" if verdict.conclusion is Conclusion.NO_DIFFERENCE else ""
        parts.append(circle(f"mark {row.precision}{hollow}", axis.at(verdict.ratio), middle, 3.5))
    return [element("g", *parts, tooltip=_describe_ratio(row, verdict))]


def _describe_ratio(row: Row, verdict: Verdict) -> str:
    numbers = [] if verdict.ratio is None else [ratio_number(verdict.ratio)]
    if verdict.low is not None and verdict.high is not None:
        numbers.append(f"{ratio_number(verdict.low)} to {ratio_number(verdict.high)}")
    return f"{one_line(row.name)}: {', '.join([*numbers, verdict.words])}"


def draw_spread(report: Report, batch: int, width: int) -> Picture | None:
    """A lane for each row measured at the batch size; None: none was."""
    found = [
        (row, np.asarray(latency.samples_ms, dtype=np.float64), summary)
        for row, derived in zip(report.rows, report.derived.rows, strict=True)
        for latency, summary in zip(row.latencies, derived.latencies, strict=True)
        if latency.batch == batch
    ]
    if not found:
        return None
    lanes = Lanes(width, len(found), values=170.0)
    relative = _is_relative(report)
    units = [summary.median_ms if relative else 1.0 for _, _, summary in found]
    scaled = [samples / unit for (_, samples, _), unit in zip(found, units, strict=True)]
    axis = Axis.around(*_ends(scaled), lanes.left, lanes.right, log_from=LOG_FROM)
    body = lanes.grid(axis, f"{'time over its own median' if relative else 'ms per run'} at batch {batch}")
    described = []
    for index, (row, _, summary) in enumerate(found):
        times = (summary.median_ms, summary.p95_ms, summary.p99_ms)
        described.append(_describe_spread(row, summary))
        middle, (median, p95, p99) = lanes.middle(index), (axis.at(time / units[index]) for time in times)
        shape = element(
            "g",
            path(f"shape {row.precision}", _shape(scaled[index], axis, middle)),
            path("whisker", f"M{median:.1f} {middle - 11:g}v22M{p95:.1f} {middle - 5:g}v10"),
            circle("dot", p99, middle, 3),
            tooltip=described[-1],
        )
        body += [shape, *lanes.label(index, row.name, " · ".join(map(digits, times)))]
    title = f"Spread of the times at batch {batch}"
    return Picture(title=title, described="; ".join(described), width=width, height=lanes.height, body=body)


def _is_relative(report: Report) -> bool:
    """Whether each time is drawn over its own median: at all batch sizes, so that their pictures have one unit."""
    times: dict[int, list[float]] = {}
    for row in report.rows:
        for latency in row.latencies:
            times.setdefault(latency.batch, []).extend(latency.samples_ms)
    return any(max(every) > RELATIVE * min(every) for every in times.values())


def _describe_spread(row: Row, found: LatencySummary) -> str:
    times = f"median {digits(found.median_ms)}, p95 {digits(found.p95_ms)}, p99 {digits(found.p99_ms)} ms"
    return f"{one_line(row.name)}: {times} of {found.count} runs, {digits(found.min_ms)} at least"


def _ends(samples: Sequence[npt.NDArray[np.float64]]) -> tuple[float, float]:
    every = np.concatenate(samples)
    return float(every.min()), float(every.max())


def _shape(samples: npt.NDArray[np.float64], axis: Axis, middle: float) -> str:
    """A violin: a histogram over the axis's pixels, smoothed over neighbouring bins, drawn up and down."""
    bins = max(4, int((axis.end - axis.start) / BIN))
    edges = np.linspace(axis.start, axis.end, bins + 1)
    counts = np.histogram([axis.at(time) for time in samples], edges)[0].astype(np.float64)
    smooth = np.convolve(counts, (0.25, 0.5, 0.25), mode="same")
    heights = np.maximum(HALF * smooth / smooth.max(), THIN)
    kept = np.flatnonzero(smooth > 0)
    half = [((edges[index] + edges[index + 1]) / 2, heights[index]) for index in range(kept[0], kept[-1] + 1)]
    upper = " ".join(f"{x:.1f} {middle - height:.1f}" for x, height in half)
    lower = " ".join(f"{x:.1f} {middle + height:.1f}" for x, height in reversed(half))
    return f"M{upper} {lower}Z"
