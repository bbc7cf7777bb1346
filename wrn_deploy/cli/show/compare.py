"""Prints what comparing reports found, as tables or as JSON, on stdout."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from rich.table import Table as Grid

from wrn_deploy.bench.report.compare import Comparison
from wrn_deploy.bench.report.verdicts import Verdict
from wrn_deploy.cli.show.tables import new_table, print_json, print_line, print_table
from wrn_deploy.rendering.comparison import NamedReport, changes, comparison_tables, verdict_on
from wrn_deploy.rendering.table import Table

__all__ = ["show_comparison", "show_history"]


def show_history(reports: Sequence[NamedReport]) -> None:
    """Prints the medians of all reports at the smallest batch size, a column a report, and the reports by number."""
    batches = [latency.batch for named in reports for row in named.report.rows for latency in row.latencies]
    table = changes(reports, min(batches, default=1))
    if table.lines:
        print_line(table.about)
        print_table(_grid(table, [""] * len(table.lines)))
    for number, named in enumerate(reports, start=1):
        print_line(f"{number}: {named.name}, {named.report.created}")
    print_line()


def show_comparison(found: Comparison, notes: Sequence[str], *, as_json: bool) -> None:
    """Prints times, answers, rows that only one report has, and notes on other differences."""
    if as_json:
        print_json(_record(found, notes))
        return
    print_line(f"{found.model}: B against A", "bold")
    if found.baseline is not None:
        print_line(f"Ratios are of times divided by those of {found.baseline} in the same round.")
    styles = {
        "times": [_style_of(timed.verdict) for timed in found.timed],
        "answers": ["bold red" if verdict_on(scored) == "worse" else "" for scored in found.scored],
    }
    for table in comparison_tables(found):
        print_table(_grid(table, styles[table.name]))
    if found.answers is not None:
        print_line(f"Predictions are not compared: {found.answers}.")
    reasons = dict.fromkeys(timed.verdict.because for timed in found.timed if timed.verdict.because)
    if reasons:
        print_line(f"Inconclusive ratios: {'; '.join(reasons)}.")
    for where, names in (("A", found.only_before), ("B", found.only_after)):
        if names:
            print_line(f"Only in {where}: {', '.join(names)}.")
    for note in notes:
        print_line(note)


def _style_of(verdict: Verdict) -> str:
    return "bold red" if verdict.slower else "green" if verdict.faster else ""


def _grid(table: Table, styles: Sequence[str]) -> Grid:
    right = tuple(header for index, header in enumerate(table.headers) if not table.is_text(index))
    grid = new_table(*table.headers, right=right)
    for line, style in zip(table.lines, styles, strict=True):
        grid.add_row(*line.cells, style=style)
    return grid


def _record(found: Comparison, notes: Sequence[str]) -> dict[str, Any]:
    scored = [{**dataclasses.asdict(row), "verdict": verdict_on(row)} for row in found.scored]
    return {**dataclasses.asdict(found), "scored": scored, "notes": list(notes)}
