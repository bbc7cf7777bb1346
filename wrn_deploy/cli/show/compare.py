"""Prints what comparing two reports found, as tables or as JSON, on stdout."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table

from wrn_deploy.bench.report.compare import Comparison, Scored, Timed
from wrn_deploy.cli.show.tables import new_table, print_json, print_line, print_table
from wrn_deploy.formatting import digits, percent, ratio_number, signed

__all__ = ["show_comparison"]

TIMES = ("Candidate", "Batch", "A, ms", "B, ms", "B / A", "95 % interval", "verdict")
ANSWERS = ("Candidate", "A, top-1", "B, top-1", "points", "95 % interval", "verdict")
TEXTS = ("Candidate", "verdict")


def show_comparison(found: Comparison, notes: Sequence[str], *, as_json: bool) -> None:
    """Prints times, answers, rows that only one report has, and notes on other differences."""
    if as_json:
        print_json(_record(found, notes))
        return
    print_line(f"{found.model}: B against A", "bold")
    if found.reference is not None:
        print_line(f"Ratios are of times divided by those of {found.reference} in the same round.")
    if found.timed:
        print_table(_table(TIMES, map(_cells_of_times, found.timed)))
    if found.scored:
        print_table(_table(ANSWERS, map(_cells_of_answers, found.scored)))
    if found.answers is not None:
        print_line(f"Answers are not compared: {found.answers}.")
    reasons = dict.fromkeys(timed.verdict.because for timed in found.timed if timed.verdict.because)
    if reasons:
        print_line(f"Not every ratio holds: {'; '.join(reasons)}.")
    for where, names in (("A", found.only_before), ("B", found.only_after)):
        if names:
            print_line(f"Only in {where}: {', '.join(names)}.")
    for note in notes:
        print_line(note)


def _table(headers: Sequence[str], lines: Iterable[tuple[Sequence[str], str]]) -> Table:
    table = new_table(*headers, right=tuple(header for header in headers if header not in TEXTS))
    for cells, style in lines:
        table.add_row(*cells, style=style)
    return table


def _cells_of_times(timed: Timed) -> tuple[Sequence[str], str]:
    found = timed.verdict
    ratio, low, high = ("" if n is None else ratio_number(n) for n in (found.ratio, found.low, found.high))
    times = (digits(timed.before_ms), digits(timed.after_ms))
    style = "bold red" if found.slower else "green" if found.faster else ""
    return (timed.name, str(timed.batch), *times, ratio, f"{low} to {high}" if low else "", found.words), style


def _cells_of_answers(scored: Scored) -> tuple[Sequence[str], str]:
    points, change = -100 * scored.lost / scored.images, scored.change
    interval = f"{signed(100 * change.low)} to {signed(100 * change.high)}"
    top1 = (percent(scored.before / scored.images), percent(scored.after / scored.images))
    verdict = _verdict(scored)
    return (scored.name, *top1, signed(points), interval, verdict), "bold red" if verdict == "worse" else ""


def _verdict(scored: Scored) -> str:
    if not scored.shown:
        return "no difference shown"
    return "worse" if scored.lost > 0 else "better"


def _record(found: Comparison, notes: Sequence[str]) -> dict[str, Any]:
    scored = [{**dataclasses.asdict(row), "verdict": _verdict(row)} for row in found.scored]
    return {**dataclasses.asdict(found), "scored": scored, "notes": list(notes)}
