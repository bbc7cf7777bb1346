"""Writes a report as one self-contained page by the templates beside this file; no script, nothing loaded."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    import jinja2

from wrn_deploy.bench.report.environment import Severity
from wrn_deploy.bench.report.report import Report, Row
from wrn_deploy.formatting import count, one_line, percent, printable
from wrn_deploy.rendering.notes import environment, heading, machine_state, notes, skips
from wrn_deploy.rendering.pictures.bars import LAYERS_SHOWN, draw_file_sizes, draw_layers, draw_memory, latency_bars
from wrn_deploy.rendering.pictures.spread import draw_ratios, draw_spread
from wrn_deploy.rendering.pictures.svg import TEMPLATES, Picture
from wrn_deploy.rendering.pictures.sweep import draw_batches
from wrn_deploy.rendering.pictures.tradeoff import draw_tradeoff, has_accuracy
from wrn_deploy.rendering.remarks import MARKS, headline, warnings
from wrn_deploy.rendering.sharing import best_of_each, command, tiles
from wrn_deploy.rendering.summary_picture import HEIGHT, WIDTH
from wrn_deploy.rendering.table import RANDOM_WEIGHTS, artifacts, class_losses, tables

__all__ = ["Figure", "figure_of", "files_of", "new_templates", "page_of", "to_html"]

DESK, PHONE = 900, 336  # pixels of a picture; the latter fits a phone of 360
PNG = b"\x89PNG\r\n\x1a\n"  # how every PNG file begins (ISO/IEC 15948, 5.2); the size is in bytes 16 to 23


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A picture drawn for a desk and for a phone, of which the style sheet shows one; `name` is unique on the page."""

    name: str
    wide: Picture
    narrow: Picture
    title: str = ""
    caption: str = ""


def to_html(report: Report, name: str | None = None) -> str:
    """The page, ready to be written as UTF-8; ends with a line break.

    Args:
        report: what is shown.
        name: the page links to `name`.json and the other files of the report beside it; None: there are none.
    """

    def by_batch(name: str, draw: Callable[[Report, int, int], Picture | None]) -> list[Figure]:
        drawn = [(batch, partial(draw, report, batch)) for batch in report.settings.batches]
        return [figure for batch, at in drawn for figure in figure_of(f"{name}-{batch}", at, f"Batch {batch}")]

    model, data = heading(report)
    first = headline(report)
    remarks = [one for one in warnings(report) if one.severity is not Severity.DISTRUST]
    shown = best_of_each(report) if first.severity is not Severity.DISTRUST else ()
    chart = figure_of("best", lambda width: latency_bars(shown, width)) if len(shown) > 1 else []
    all_shown = len(shown) == len(report.derived.ranking) > 1 and not has_accuracy(report)
    return page_of(
        new_templates(),
        "report.html",
        model=model,
        about=f"Benchmark on {data}, {one_line(report.created).partition('T')[0]}",
        random_weights=RANDOM_WEIGHTS if report.random_weights else "",
        beside={} if name is None else files_of(name),
        summary_size=(WIDTH, HEIGHT),
        headline=first.text.replace(" ms", "\N{NO-BREAK SPACE}ms").replace(" %", "\N{NO-BREAK SPACE}%"),
        distrust=MARKS[first.severity] if first.severity is Severity.DISTRUST else "",
        tiles=tiles(report),
        chart=chart,
        remarks=[(MARKS[one.severity], one.severity.name.lower(), one.text) for one in remarks],
        command=command(report),
        tables={table.name: table for table in tables(report)},
        has_accuracy=has_accuracy(report),
        tradeoff=[] if all_shown else figure_of("tradeoff", partial(draw_tradeoff, report)),
        ratios=by_batch("forest", draw_ratios),
        batch_sizes=figure_of("sweep", partial(draw_batches, report)),
        spread=by_batch("strips", draw_spread),
        layers=[figure for index, row in enumerate(report.rows) for figure in _layers(index, row)],
        sizes=figure_of("file-sizes", partial(draw_file_sizes, report)),
        memory=figure_of("peak-memory", partial(draw_memory, report)),
        class_losses=class_losses(report),
        rows=report.rows,
        skips=skips(report),
        notes=notes(report),
        environment=environment(report),
        state=machine_state(report),
        artifacts=artifacts(report),
    )


def new_templates() -> jinja2.Environment:
    """The templates of pages, which escape every text and show each of its characters."""
    import jinja2

    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,  # always: texts from outside are on every page
        finalize=lambda value: printable(value) if type(value) is str else value,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters.update(one_line=one_line, count_of=count, png_size=_png_size)
    return templates


def page_of(templates: jinja2.Environment, name: str, **values: object) -> str:
    """The template `name` filled in, with the style sheet, and the policy that allows that alone."""
    style = templates.get_template("style.css").render()
    return templates.get_template(name).render(
        style=Markup(style),  # noqa: S704 -- the project's own files
        policy=Markup(_policy(style)),  # noqa: S704 -- it has no text from outside
        **values,
    )


def files_of(name: str) -> dict[str, str]:
    """The files of a report by what they are; the page is one of them."""
    kinds = {"JSON": ".json", "CSV": ".csv", "Markdown": ".md", "page": ".html"}
    pictures = {"picture": "-summary.png", "badge": "-badge.svg"}
    return {kind: f"{name}{suffix}" for kind, suffix in {**kinds, **pictures}.items()}


def _policy(style: str) -> str:
    """The page's Content-Security-Policy: its own style sheet and pictures inside it, and nothing else, no script."""
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


def figure_of(name: str, draw: Callable[[int], Picture | None], title: str = "", caption: str = "") -> list[Figure]:
    """The picture at both widths; empty: it has nothing to show."""
    wide, narrow = draw(DESK), draw(PHONE)
    if wide is None or narrow is None:
        return []
    return [Figure(name=name, wide=wide, narrow=narrow, title=title, caption=caption)]


def _layers(index: int, row: Row) -> list[Figure]:
    times = sorted((layer.ms for layer in row.layers), reverse=True)
    caption = f"All {len(times)} layers, the slowest first."
    if len(times) > LAYERS_SHOWN:
        fraction = sum(times[:LAYERS_SHOWN]) / (sum(times) or 1.0)
        caption = f"The {LAYERS_SHOWN} slowest of {len(times)} layers: {percent(fraction)} of the time in layers."
    return figure_of(f"layers-{index}", partial(draw_layers, row), one_line(row.name), caption)


def _png_size(png: str) -> tuple[int, int]:
    """Width and height in pixels of a PNG file in base64; (0, 0): not a PNG, so not shown."""
    try:
        data = base64.b64decode(png, validate=True)
    except ValueError:
        return 0, 0
    shown = data.startswith(PNG) and len(data) >= 24
    return (int.from_bytes(data[16:20]) or 1, int.from_bytes(data[20:24]) or 1) if shown else (0, 0)
