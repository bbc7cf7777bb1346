"""Writes a report as one self-contained page by the templates beside this file; no script, nothing loaded."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from wrn_deploy.bench.report.report import Report, Row
from wrn_deploy.formatting import count, one_line, percent
from wrn_deploy.rendering.notes import conditions, heading, machine_state, notes, skips, warnings
from wrn_deploy.rendering.pictures.bars import LAYERS_SHOWN, draw_file_sizes, draw_layers, draw_memory
from wrn_deploy.rendering.pictures.forest import draw_ratios
from wrn_deploy.rendering.pictures.strips import draw_spread
from wrn_deploy.rendering.pictures.svg import TEMPLATES, Picture
from wrn_deploy.rendering.pictures.sweep import draw_batches
from wrn_deploy.rendering.pictures.tradeoff import draw_tradeoff, has_accuracy
from wrn_deploy.rendering.summary import sentence
from wrn_deploy.rendering.table import RANDOM_WEIGHTS, artifacts, class_losses, tables

__all__ = ["to_html"]

DESK, PHONE = 900, 336  # pixels of a picture; a phone of 360 leaves as much
PNG = b"\x89PNG\r\n\x1a\n"  # how every PNG file begins (ISO/IEC 15948, 5.2); the size is in bytes 16 to 23


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A picture drawn for a desk and for a phone, of which the style shows one; `name` is unique on the page."""

    name: str
    wide: Picture
    narrow: Picture
    title: str = ""
    caption: str = ""


def to_html(report: Report) -> str:
    """The page, ready to be written as UTF-8; ends with a line break."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,  # always: texts from outside are on every page
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(one_line=one_line, count_of=count, png_size=_png_size)
    model, data = heading(report)
    return environment.get_template("report.html").render(
        model=model,
        about=f"Benchmark on {data}, {one_line(report.created).partition('T')[0]}",
        random_weights=RANDOM_WEIGHTS if report.random_weights else "",
        summary=sentence(report).replace(" ms", "\N{NO-BREAK SPACE}ms").replace(" %", "\N{NO-BREAK SPACE}%"),
        warnings=warnings(report),
        tables={table.name: table for table in tables(report)},
        has_accuracy=has_accuracy(report),
        tradeoff=_figures([("tradeoff", "", partial(draw_tradeoff, report))]),
        ratios=_by_batch(report, "forest", draw_ratios),
        batch_sizes=_figures([("sweep", "", partial(draw_batches, report))]),
        spread=_by_batch(report, "strips", draw_spread),
        layers=_layers(report),
        sizes=_figures([("file-sizes", "", partial(draw_file_sizes, report))]),
        memory=_figures([("peak-memory", "", partial(draw_memory, report))]),
        class_losses=class_losses(report),
        rows=report.rows,
        skips=skips(report),
        notes=notes(report),
        conditions=conditions(report),
        state=machine_state(report),
        artifacts=artifacts(report),
    )


def _figures(drawn: Iterable[tuple[str, str, Callable[[int], Picture | None]]]) -> list[Figure]:
    """Those that have something to show, of names, titles and what draws a picture of a width."""
    pairs = [(name, title, draw(DESK), draw(PHONE)) for name, title, draw in drawn]
    return [
        Figure(name=name, title=title, wide=wide, narrow=narrow)
        for name, title, wide, narrow in pairs
        if wide is not None and narrow is not None
    ]


def _by_batch(report: Report, name: str, draw: Callable[[Report, int, int], Picture | None]) -> list[Figure]:
    return _figures(
        (f"{name}-{batch}", f"Batch {batch}", partial(draw, report, batch)) for batch in report.settings.batches
    )


def _layers(report: Report) -> list[Figure]:
    found = []
    for index, row in enumerate(report.rows):
        wide, narrow = draw_layers(row, DESK), draw_layers(row, PHONE)
        if wide is not None and narrow is not None:
            caption, title = _caption_of_layers(row), one_line(row.name)
            found.append(Figure(name=f"layers-{index}", wide=wide, narrow=narrow, title=title, caption=caption))
    return found


def _caption_of_layers(row: Row) -> str:
    times = sorted((layer.ms for layer in row.layers), reverse=True)
    if len(times) <= LAYERS_SHOWN:
        return f"All {len(times)} layers, the slowest first."
    share = sum(times[:LAYERS_SHOWN]) / (sum(times) or 1.0)
    return f"The {LAYERS_SHOWN} slowest of {len(times)} layers: {percent(share)} of the time in layers."


def _png_size(png: str) -> tuple[int, int]:
    """Width and height in pixels of a PNG file in base64; (0, 0): it is none, and is not shown."""
    try:
        data = base64.b64decode(png, validate=True)
    except (binascii.Error, ValueError):
        return 0, 0
    if not data.startswith(PNG) or len(data) < 24:
        return 0, 0
    return int.from_bytes(data[16:20]) or 1, int.from_bytes(data[20:24]) or 1
