"""Draws one bar a name: latencies, file sizes, memory, and the times of layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wrn_deploy.bench.report.derived import Ranked
from wrn_deploy.bench.report.report import Report, Row
from wrn_deploy.formatting import digits, file_size, one_line, percent
from wrn_deploy.rendering.pictures.axis import Axis
from wrn_deploy.rendering.pictures.lanes import Lanes
from wrn_deploy.rendering.pictures.svg import Picture, path, rect
from wrn_deploy.spec import Precision

__all__ = ["LAYERS_SHOWN", "draw_file_sizes", "draw_layers", "draw_memory", "latency_bars"]

LAYERS_SHOWN = 12
THICK = 12.0  # pixels
MEGABYTE = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar: its name, its colour's class, its length, what stands beside it, and the ends of a thin line on it.

    `more` is said after the value, only in words.
    """

    name: str
    style: str
    length: float
    value: str
    line: tuple[float, float] | None = None
    more: str = ""


def latency_bars(ranking: Sequence[Ranked], width: int) -> Picture:
    """Median times of rows at one batch size, each with a thin line from the minimum to the 90th percentile."""
    bars = [
        Bar(name=one.row.name, style=one.row.precision, length=one.latency.median_ms,
            value=f"{digits(one.latency.median_ms)} ms", line=(one.latency.min_ms, one.latency.p90_ms),
            more=f" median ({digits(one.latency.min_ms)} to {digits(one.latency.p90_ms)})")
        for one in ranking
    ]  # fmt: skip
    batch = ranking[0].latency.batch
    return _draw(bars, f"Latency at batch {batch}", f"median latency at batch {batch}, ms", width)


def draw_file_sizes(report: Report, width: int) -> Picture | None:
    """The sizes of the measured files; None: none is known."""
    return _of_rows(report, "File size", lambda row: row.size_bytes, width)


def draw_memory(report: Report, width: int) -> Picture | None:
    """The largest resident set of each candidate's process; None: none is known."""
    return _of_rows(report, "Peak memory of the process", lambda row: row.peak_rss_bytes, width)


def draw_layers(row: Row, width: int) -> Picture | None:
    """The LAYERS_SHOWN layers of a row that take longest, the longest first; None: it has no layers."""
    if not row.layers:
        return None
    whole = sum(layer.ms for layer in row.layers) or 1.0
    bars = []
    for layer in sorted(row.layers, key=lambda layer: -layer.ms)[:LAYERS_SHOWN]:
        style = layer.precision if layer.precision in tuple(Precision) else "other"
        values = (f"{digits(layer.ms)} ms", percent(layer.ms / whole), one_line(layer.precision or "")[:8])
        bars.append(Bar(name=layer.name, style=style, length=layer.ms, value=" · ".join(filter(None, values))))
    return _draw(bars, f"Slowest layers of {one_line(row.name)}", "ms", width)


def _of_rows(report: Report, title: str, size: Callable[[Row], int | None], width: int) -> Picture | None:
    bars = [
        Bar(name=row.name, style=row.precision, length=bytes_ / MEGABYTE, value=file_size(bytes_))
        for row in report.rows
        if row.skipped is None and (bytes_ := size(row)) is not None
    ]
    return _draw(bars, title, f"{title}, MB", width) if bars else None


def _draw(bars: Sequence[Bar], title: str, caption: str, width: int) -> Picture:
    lanes = Lanes(width, len(bars))
    longest = max(max(bar.length, *(bar.line or (0.0,))) for bar in bars) or 1.0
    axis = Axis(0.0, longest * 1.02, lanes.left, lanes.right)
    words = [f"{one_line(bar.name)}: {bar.value}{bar.more}" for bar in bars]
    body = lanes.grid(axis, caption)
    for index, bar in enumerate(bars):
        middle, length = lanes.middle(index), max(axis.at(bar.length) - lanes.left, 1.0)
        body.append(rect(bar.style, lanes.left, middle - THICK / 2, length, THICK, tooltip=words[index]))
        if bar.line is not None:
            low, high = map(axis.at, bar.line)
            body.append(path("whisker", f"M{low:.1f} {middle:g}H{high:.1f}"))
        body += lanes.label(index, bar.name, bar.value)
    return Picture(title=title, described="; ".join(words), width=width, height=lanes.height, body=body)
