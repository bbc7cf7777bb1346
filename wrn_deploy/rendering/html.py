"""Writes a report as one self-contained page by the templates beside this file; no script, nothing loaded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from wrn_deploy.bench.report.environment import Severity
from wrn_deploy.bench.report.report import Report, Row
from wrn_deploy.formatting import one_line, percent
from wrn_deploy.rendering.notes import environment, heading, machine_state, notes, skips
from wrn_deploy.rendering.page import Figure, draw_figure, open_templates, page_of
from wrn_deploy.rendering.pictures.bars import LAYERS_SHOWN, draw_file_sizes, draw_layers, draw_memory, latency_bars
from wrn_deploy.rendering.pictures.spread import draw_ratios, draw_spread
from wrn_deploy.rendering.pictures.svg import Picture
from wrn_deploy.rendering.pictures.sweep import draw_batches
from wrn_deploy.rendering.pictures.tradeoff import draw_tradeoff, has_accuracy
from wrn_deploy.rendering.remarks import MARKS, headline, warnings
from wrn_deploy.rendering.sharing import best_of_each, command, tiles
from wrn_deploy.rendering.summary_picture import HEIGHT, WIDTH
from wrn_deploy.rendering.table import RANDOM_WEIGHTS, artifacts, class_losses, tables

__all__ = ["files_of", "to_html"]


def to_html(report: Report, name: str | None = None) -> str:
    """The page, ready to be written as UTF-8; ends with a line break.

    Args:
        report: what is shown.
        name: the page links to `name`.json and the other files of the report beside it; None: there are none.
    """

    def by_batch(name: str, draw: Callable[[Report, int, int], Picture | None]) -> list[Figure]:
        drawn = [(batch, partial(draw, report, batch)) for batch in report.settings.batches]
        return [figure for batch, at in drawn for figure in draw_figure(f"{name}-{batch}", at, f"Batch {batch}")]

    model, data = heading(report)
    first = headline(report)
    remarks = [one for one in warnings(report) if one.severity is not Severity.DISTRUST]
    shown = best_of_each(report) if first.severity is not Severity.DISTRUST else ()
    chart = draw_figure("best", lambda width: latency_bars(shown, width)) if len(shown) > 1 else []
    all_shown = len(shown) == len(report.derived.ranking) > 1 and not has_accuracy(report)
    return page_of(
        open_templates(),
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
        tradeoff=[] if all_shown else draw_figure("tradeoff", partial(draw_tradeoff, report)),
        ratios=by_batch("forest", draw_ratios),
        batch_sizes=draw_figure("sweep", partial(draw_batches, report)),
        spread=by_batch("strips", draw_spread),
        layers=[figure for index, row in enumerate(report.rows) for figure in _layers(index, row)],
        sizes=draw_figure("file-sizes", partial(draw_file_sizes, report)),
        memory=draw_figure("peak-memory", partial(draw_memory, report)),
        class_losses=class_losses(report),
        rows=report.rows,
        skips=skips(report),
        notes=notes(report),
        environment=environment(report),
        state=machine_state(report),
        artifacts=artifacts(report),
    )


def files_of(name: str) -> dict[str, str]:
    """The files of a report by what they are; the page is one of them."""
    kinds = {"JSON": ".json", "CSV": ".csv", "Markdown": ".md", "page": ".html"}
    pictures = {"picture": "-summary.png", "badge": "-badge.svg"}
    return {kind: f"{name}{suffix}" for kind, suffix in {**kinds, **pictures}.items()}


def _layers(index: int, row: Row) -> list[Figure]:
    times = sorted((layer.ms for layer in row.layers), reverse=True)
    caption = f"All {len(times)} layers, the slowest first."
    if len(times) > LAYERS_SHOWN:
        fraction = sum(times[:LAYERS_SHOWN]) / (sum(times) or 1.0)
        caption = f"The {LAYERS_SHOWN} slowest of {len(times)} layers: {percent(fraction)} of the time in layers."
    return draw_figure(f"layers-{index}", partial(draw_layers, row), one_line(row.name), caption)
