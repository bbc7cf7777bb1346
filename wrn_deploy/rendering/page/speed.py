"""The sections about time: latency beside accuracy, ratios, batch sizes, the spread of the times, layers, loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from html import escape

from wrn_deploy.bench.report.report import Report, Row
from wrn_deploy.formatting import one_line, percent
from wrn_deploy.rendering.page.parts import DESK, Section, figure, table
from wrn_deploy.rendering.pictures.bars import LAYERS_SHOWN, layer_times
from wrn_deploy.rendering.pictures.forest import forest
from wrn_deploy.rendering.pictures.strips import distributions
from wrn_deploy.rendering.pictures.sweep import batch_sweep
from wrn_deploy.rendering.pictures.tradeoff import picture
from wrn_deploy.rendering.table import Table

__all__ = ["speed_sections"]

COMPARED = (
    "Further left is faster, further up is more accurate. Shapes and colours show the precision; each thin line "
    "reaches from the minimum to the 90th percentile. Points with a ring are the Pareto front: none is both faster and "
    "at least as accurate as they are."
)
BARS = "Colours show the precision; each thin line reaches from the minimum to the 90th percentile."
FOREST = (
    "Each line is the 95 % interval of the ratio. A hollow point is one whose interval holds 1: no difference is shown."
)
SPREAD = (
    "A shape is the higher the more runs took that time; the long line is the median, the short one the 95th "
    "percentile, the dot the 99th. At the right: all three, in milliseconds."
)
SWEEP = "A run's images over its median time. Shapes and colours show the precision."


def speed_sections(report: Report, tables: Mapping[str, Table]) -> list[Section]:
    """The sections that have something to show."""
    compared = "top-1 accuracy" in picture(report, DESK)
    title = "Latency and accuracy" if compared else "Latency"
    drawn = figure(partial(picture, report), COMPARED if compared else BARS)
    numbers = table(tables["times"]) if "times" in tables else ""
    bodies = [
        ("latency", title, drawn + numbers),
        ("ratios", tables["ratios"].title if "ratios" in tables else "", _ratios(report, tables)),
        ("batches", "Batch sizes", figure(partial(batch_sweep, report), SWEEP)),
        ("spread", "Spread of the times", _spread(report)),
        ("layers", "Time by layer", _layers(report)),
        ("loads", "Load scenarios", table(tables["loads"]) if "loads" in tables else ""),
    ]
    return [Section(name, title, body) for name, title, body in bodies if body]


def _ratios(report: Report, tables: Mapping[str, Table]) -> str:
    if "ratios" not in tables:
        return ""
    return _by_batch(report, partial(forest, report), FOREST) + table(tables["ratios"])


def _spread(report: Report) -> str:
    return _by_batch(report, partial(distributions, report), SPREAD)


def _by_batch(report: Report, draw: Callable[[int, int], str], about: str) -> str:
    """What the pictures show, and a picture a batch size, under its name where there are several."""
    pairs = [(batch, figure(partial(draw, batch))) for batch in report.settings.batches]
    drawn = [(batch, shown) for batch, shown in pairs if shown]
    headed = [f"<h3>Batch {batch}</h3>\n{shown}" if len(drawn) > 1 else shown for batch, shown in drawn]
    return "\n".join([f'<p class="caption">{escape(about)}</p>', *headed]) + "\n" if drawn else ""


def _layers(report: Report) -> str:
    rows = [(index, row) for index, row in enumerate(report.rows) if row.layers]
    return "\n".join(
        f"<h3>{escape(one_line(row.name))}</h3>\n"
        + figure(partial(layer_times, row, f"layers-{index}"), _caption_of_layers(row))
        for index, row in rows
    )


def _caption_of_layers(row: Row) -> str:
    times = sorted((layer.ms for layer in row.layers), reverse=True)
    if len(times) <= LAYERS_SHOWN:
        return f"All {len(times)} layers, the slowest first."
    share = sum(times[:LAYERS_SHOWN]) / (sum(times) or 1.0)
    return f"The {LAYERS_SHOWN} slowest of {len(times)} layers: {percent(share)} of the time in layers."
