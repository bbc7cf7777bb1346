"""Draws how the times of each contender are spread: the shape of its samples with median, p95 and p99."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence

import numpy as np

from wrn_deploy.bench.report.report import Latency, Report, Row, summarize
from wrn_deploy.formatting import digits, one_line
from wrn_deploy.rendering.pictures.axes import Axis
from wrn_deploy.rendering.pictures.canvas import drawing
from wrn_deploy.rendering.pictures.lanes import Lanes
from wrn_deploy.spec import Precision

__all__ = ["distributions"]

LOG_SPREAD, RELATIVE = 3.0, 30.0  # longest over shortest time: from here on logarithmic, or each over its own median
BIN, HALF, THIN = 4.0, 10.0, 0.3  # pixels: the width of a bin; half the height of the fullest, and of an empty one


def distributions(report: Report, batch: int, width: int) -> str:
    """An `<svg>` with a lane for each row measured at the batch size; nothing where there is none."""
    found = [(row, latency) for row in report.rows for latency in row.latencies if latency.batch == batch]
    if not found:
        return ""
    lanes = Lanes(width, len(found), values=170.0)
    lowest, highest = _ends([latency for _, latency in found])
    relative = highest > RELATIVE * lowest
    scales = [summarize(latency).median_ms if relative else 1.0 for _, latency in found]
    axis = _axis([_scaled(latency, scale) for (_, latency), scale in zip(found, scales, strict=True)], lanes)
    parts = [lanes.grid(axis, f"{'time over its own median' if relative else 'ms a run'} at batch {batch}")]
    for index, ((row, latency), scale) in enumerate(zip(found, scales, strict=True)):
        summary = summarize(latency)
        value = " · ".join(digits(time) for time in (summary.median_ms, summary.p95_ms, summary.p99_ms))
        strip = _strip(_scaled(latency, scale), row.precision, axis, lanes.middle(index))
        parts += [f"<g><title>{html.escape(_told(row, latency))}</title>{strip}</g>"]
        parts += [lanes.label(index, row.name, value)]
    titles = (f"Spread of the times at batch {batch}", "; ".join(_told(row, latency) for row, latency in found))
    return drawing(f"spread-{batch}-{width}", titles, (width, lanes.height), "".join(parts))


def _scaled(latency: Latency, scale: float) -> Latency:
    return dataclasses.replace(
        latency, rounds_ms=tuple(tuple(time / scale for time in turn) for turn in latency.rounds_ms)
    )


def _ends(latencies: Sequence[Latency]) -> tuple[float, float]:
    times = [time for latency in latencies for time in latency.samples_ms]
    return min(times), max(times)


def _axis(latencies: Sequence[Latency], lanes: Lanes) -> Axis:
    low, high = _ends(latencies)
    if high > LOG_SPREAD * low > 0:
        return Axis(low / 1.1, high * 1.1, lanes.left, lanes.right, log=True)
    pad = (high - low) * 0.04 or high * 0.1 or 1.0
    return Axis(low - pad, high + pad, lanes.left, lanes.right)


def _strip(latency: Latency, precision: Precision, axis: Axis, middle: float) -> str:
    summary = summarize(latency)
    at = [axis.at(time) for time in (summary.median_ms, summary.p95_ms, summary.p99_ms)]
    return (
        f'<path class="shape {precision.value}" d="{_shape(latency, axis, middle)}"/>'
        f'<path class="whisker" d="M{at[0]:.1f} {middle - 11:g}v22M{at[1]:.1f} {middle - 5:g}v10"/>'
        f'<circle class="dot" cx="{at[2]:.1f}" cy="{middle:g}" r="3"/>'
    )


def _shape(latency: Latency, axis: Axis, middle: float) -> str:
    """A violin: a histogram over the axis's pixels, smoothed over a bin's neighbours, drawn up and down."""
    bins = max(4, int((axis.end - axis.start) / BIN))
    edges = np.linspace(axis.start, axis.end, bins + 1)
    counts = np.histogram([axis.at(time) for time in latency.samples_ms], edges)[0].astype(np.float64)
    smooth = np.convolve(counts, (0.25, 0.5, 0.25), mode="same")
    heights = np.maximum(HALF * smooth / smooth.max(), THIN)
    kept = np.flatnonzero(smooth > 0)
    half = [((edges[index] + edges[index + 1]) / 2, heights[index]) for index in range(kept[0], kept[-1] + 1)]
    upper = " ".join(f"{x:.1f} {middle - height:.1f}" for x, height in half)
    lower = " ".join(f"{x:.1f} {middle + height:.1f}" for x, height in reversed(half))
    return f"M{upper} {lower}Z"


def _told(row: Row, latency: Latency) -> str:
    found = summarize(latency)
    times = f"median {digits(found.median_ms)}, p95 {digits(found.p95_ms)}, p99 {digits(found.p99_ms)} ms"
    return f"{one_line(row.name)}: {times} of {found.count} runs, {digits(found.min_ms)} at least"
