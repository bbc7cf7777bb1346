"""Draws one bar a name: file sizes, memory, and the times of layers."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wrn_deploy.bench.report.report import Report, Row
from wrn_deploy.formatting import digits, file_size, one_line, percent
from wrn_deploy.rendering.pictures.axes import Axis
from wrn_deploy.rendering.pictures.canvas import drawing
from wrn_deploy.rendering.pictures.lanes import Lanes

__all__ = ["LAYERS_SHOWN", "file_sizes", "layer_times", "memory"]

LAYERS_SHOWN = 12
THICK = 12.0  # pixels
MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its name, its colour's class, its length, and what stands beside it."""

    name: str
    style: str
    length: float
    value: str


def file_sizes(report: Report, width: int) -> str:
    """The sizes of the measured files; nothing where none is known."""
    return _of_rows(report, width, ("sizes", "File size"), lambda row: row.size_bytes)


def memory(report: Report, width: int) -> str:
    """The largest resident set of each contender's process; nothing where none is known."""
    return _of_rows(report, width, ("memory", "Peak memory of the process"), lambda row: row.peak_rss_bytes)


def layer_times(row: Row, name: str, width: int) -> str:
    """The LAYERS_SHOWN layers of a row that take longest, the longest first; nothing where it has no layers."""
    whole = sum(layer.ms for layer in row.layers)
    slowest = sorted(row.layers, key=lambda layer: -layer.ms)[:LAYERS_SHOWN]
    known = {"fp32", "fp16", "int8", "bf16", "fp8"}
    bars = [
        Bar(
            layer.name,
            layer.precision if layer.precision in known else "other",
            layer.ms,
            " · ".join(filter(None, (f"{digits(layer.ms)} ms", percent(layer.ms / whole if whole else 0.0),
                                     one_line(layer.precision or "")[:8]))),
        )
        for layer in slowest
    ]  # fmt: skip
    return _bars(bars, (name, f"Slowest layers of {one_line(row.name)}", "ms"), width)


def _of_rows(report: Report, width: int, names: tuple[str, str], size: Callable[[Row], int | None]) -> str:
    found = [(row, bytes_) for row in report.rows if row.skipped is None and (bytes_ := size(row)) is not None]
    bars = [Bar(row.name, row.precision.value, bytes_ / MEGABYTE, file_size(bytes_)) for row, bytes_ in found]
    return _bars(bars, (*names, "MB"), width)


def _bars(bars: Sequence[Bar], names: tuple[str, str, str], width: int) -> str:
    if not bars:
        return ""
    name, title, unit = names
    lanes = Lanes(width, len(bars))
    axis = Axis(0.0, (max(bar.length for bar in bars) or 1.0) * 1.02, lanes.left, lanes.right)
    parts = [lanes.grid(axis, f"{title}, {unit}" if unit == "MB" else unit)]
    for index, bar in enumerate(bars):
        y, long = lanes.middle(index) - THICK / 2, max(axis.at(bar.length) - lanes.left, 1.0)
        told = html.escape(f"{one_line(bar.name)}: {bar.value}")
        parts.append(
            f'<rect class="{bar.style}" x="{lanes.left:g}" y="{y:g}" width="{long:.1f}" height="{THICK:g}">'
            f"<title>{told}</title></rect>"
        )
        parts.append(lanes.label(index, bar.name, bar.value))
    told = "; ".join(f"{one_line(bar.name)}: {bar.value}" for bar in bars)
    return drawing(f"{name}-{width}", (title, told), (width, lanes.height), "".join(parts))
