"""Writes a comparison of reports as tables and as one self-contained page with their history; no script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from wrn_deploy.bench.report.compare import Comparison, Scored, Timed
from wrn_deploy.bench.report.report import Report
from wrn_deploy.formatting import count, digits, one_line, percent, ratio_number, signed
from wrn_deploy.rendering.page import Figure, draw_figure, open_templates, page_of
from wrn_deploy.rendering.pictures.history import draw_history, medians
from wrn_deploy.rendering.table import Line, Table

__all__ = ["NamedReport", "changes", "comparison_tables", "comparison_to_html", "verdict_on"]

TIMES = ("Candidate", "Batch", "A, ms", "B, ms", "B / A", "95 % interval", "verdict")
ANSWERS = ("Candidate", "A, top-1", "B, top-1", "points", "95 % interval", "verdict")


@dataclass(frozen=True, slots=True)
class NamedReport:
    """A report, and where it was read from."""

    name: str
    report: Report


def comparison_tables(found: Comparison) -> tuple[Table, ...]:
    """Times and answers, without what is empty; lines as in `found`."""
    times = Table(
        name="times", title="Times", about="B is the last report, A the first; B / A below 1 is faster.", headers=TIMES,
        lines=tuple(Line(_cells_of_times(timed)) for timed in found.timed), keys=2,
    )  # fmt: skip
    answers = Table(
        name="answers", title="Answers", about="Correct predictions on the same images; points of top-1.",
        headers=ANSWERS, lines=tuple(Line(_cells_of_answers(scored)) for scored in found.scored),
    )  # fmt: skip
    return tuple(table for table in (times, answers) if table.lines)


def changes(reports: Sequence[NamedReport], batch: int) -> Table:
    """The medians at a batch size, a column a report."""
    series = medians([named.report for named in reports], batch)
    lines = tuple(
        Line((name, *(digits(times[number]) if number in times else "" for number in range(len(reports)))))
        for name, times in series.items()
    )
    headers = ("Candidate", *(str(number + 1) for number in range(len(reports))))
    about = f"Medians in ms at batch {batch}: one column per report, in the order given."
    return Table(name=f"history-{batch}", title=f"Batch {batch}", about=about, headers=headers, lines=lines)


def comparison_to_html(found: Comparison, notes: Sequence[str], reports: Sequence[NamedReport]) -> str:
    """The page, ready to be written as UTF-8: what changed from the first report to the last, and all in between."""
    every = [named.report for named in reports]
    batches = sorted({latency.batch for report in every for row in report.rows for latency in row.latencies})
    drawn: list[Figure] = []
    for batch in batches:
        drawn += draw_figure(f"history-{batch}", partial(draw_history, every, batch), f"Batch {batch}")
    return page_of(
        open_templates(),
        "comparison.html",
        model=found.model,
        about=f"{count(len(reports), 'report')} compared: B, the last, against A, the first",
        notes=[one_line(note) for note in notes],
        figures_drawn=drawn,
        tables=comparison_tables(found),
        reports=[(one_line(named.name), one_line(named.report.created)) for named in reports],
    )


def _cells_of_times(timed: Timed) -> tuple[str, ...]:
    found = timed.verdict
    ratio, low, high = ("" if n is None else ratio_number(n) for n in (found.ratio, found.low, found.high))
    times = (digits(timed.before_ms), digits(timed.after_ms))
    return timed.name, str(timed.batch), *times, ratio, f"{low} to {high}" if low else "", found.words


def _cells_of_answers(scored: Scored) -> tuple[str, ...]:
    points, change = -100 * scored.lost / scored.images, scored.change
    interval = f"{signed(100 * change.low)} to {signed(100 * change.high)}"
    top1 = (percent(scored.before / scored.images), percent(scored.after / scored.images))
    return scored.name, *top1, signed(points), interval, verdict_on(scored)


def verdict_on(scored: Scored) -> str:
    """What is shown of a change of right answers, in words."""
    if not scored.shown:
        return "no difference shown"
    return "worse" if scored.lost > 0 else "better"
