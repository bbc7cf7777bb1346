"""Draws a badge for a README: the model, and in how many words its report can be told; a file of its own."""

from __future__ import annotations

from wrn_deploy.bench.report.environment import Severity
from wrn_deploy.bench.report.report import Report
from wrn_deploy.formatting import one_line
from wrn_deploy.rendering.pictures.svg import LETTER, Picture, rect, short, text
from wrn_deploy.rendering.remarks import MARKS, headline
from wrn_deploy.rendering.sharing import tiles

__all__ = ["draw_badge"]

HEIGHT, ROOM = 22.0, 8.0  # pixels: of the badge, and beside each text


def draw_badge(report: Report) -> Picture:
    """As in "wrn-16-2 | 2.1x as fast at batch 1 · 0.83 points of top-1 lost"; red if that is not to be trusted."""
    name, words = short(one_line(report.model)), _words(report)
    left, right = (LETTER * len(part) + 2 * ROOM for part in (name, words))
    doubtful = headline(report).severity is Severity.DISTRUST or report.random_weights
    return Picture(
        title=f"{name}: {words}",
        described="A benchmark of wrn-deploy",
        width=left + right,
        height=HEIGHT,
        body=[
            rect("badge-name", 0, 0, left, HEIGHT),
            rect("badge-doubt" if doubtful else "badge-words", left, 0, right, HEIGHT),
            text(left / 2, 15, name, "badge-text", "middle"),
            text(left + right / 2, 15, words, "badge-text", "middle"),
        ],
    )


def _words(report: Report) -> str:
    first = headline(report)
    if first.severity is Severity.DISTRUST:
        return MARKS[first.severity].lower()
    shown = [f"{tile.value} {tile.label}" for tile in tiles(report)[:2]]
    random = ["random weights"] if report.random_weights else []
    return " · ".join([*shown, *random]) or "nothing to compare"
