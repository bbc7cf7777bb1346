"""Writes a report as one self-contained page by the templates beside this file; no script, nothing loaded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from markupsafe import Markup

from wrn_deploy.bench.report.report import Report, Row
from wrn_deploy.formatting import one_line, percent
from wrn_deploy.rendering.notes import environment, heading, machine_state, notes, skips, summary, warnings
from wrn_deploy.rendering.page import Figure, draw_figure, open_templates, policy_of
from wrn_deploy.rendering.pictures.bars import LAYERS_SHOWN, draw_file_sizes, draw_layers, draw_memory
from wrn_deploy.rendering.pictures.spread import draw_ratios, draw_spread
from wrn_deploy.rendering.pictures.svg import Picture
from wrn_deploy.rendering.pictures.sweep import draw_batches
from wrn_deploy.rendering.pictures.tradeoff import draw_tradeoff, has_accuracy
from wrn_deploy.rendering.table import RANDOM_WEIGHTS, artifacts, class_losses, tables

__all__ = ["to_html"]


def to_html(report: Report) -> str:
    """The page, ready to be written as UTF-8; ends with a line break."""
    templates = open_templates()
    style = templates.get_template("style.css").render()

    def by_batch(name: str, draw: Callable[[Report, int, int], Picture | None]) -> list[Figure]:
        drawn = [(batch, partial(draw, report, batch)) for batch in report.settings.batches]
        return [figure for batch, at in drawn for figure in draw_figure(f"{name}-{batch}", at, f"Batch {batch}")]

    model, data = heading(report)
    return templates.get_template("report.html").render(
        style=Markup(style),  # noqa: S704 -- the project's own files
        policy=Markup(policy_of(style)),  # noqa: S704 -- it has no text from outside
        model=model,
        about=f"Benchmark on {data}, {one_line(report.created).partition('T')[0]}",
        random_weights=RANDOM_WEIGHTS if report.random_weights else "",
        summary=summary(report).replace(" ms", "\N{NO-BREAK SPACE}ms").replace(" %", "\N{NO-BREAK SPACE}%"),
        warnings=warnings(report),
        tables={table.name: table for table in tables(report)},
        has_accuracy=has_accuracy(report),
        tradeoff=draw_figure("tradeoff", partial(draw_tradeoff, report)),
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


def _layers(index: int, row: Row) -> list[Figure]:
    times = sorted((layer.ms for layer in row.layers), reverse=True)
    caption = f"All {len(times)} layers, the slowest first."
    if len(times) > LAYERS_SHOWN:
        fraction = sum(times[:LAYERS_SHOWN]) / (sum(times) or 1.0)
        caption = f"The {LAYERS_SHOWN} slowest of {len(times)} layers: {percent(fraction)} of the time in layers."
    return draw_figure(f"layers-{index}", partial(draw_layers, row), one_line(row.name), caption)
