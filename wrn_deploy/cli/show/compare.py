"""Prints what comparing two reports found, as tables or as JSON, on stdout."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table

from wrn_deploy.bench.report.compare import Comparison, Scored, Timed, Verdict
from wrn_deploy.cli.show.tables import new_table, print_json, print_line, print_table
from wrn_deploy.formatting import digits, percent

__all__ = ["show_comparison"]

STYLES = {Verdict.SLOWER: "bold red", Verdict.FASTER: "green"}
TIMES = ("Candidate", "Batch", "A, ms", "B, ms", "B / A", "95 % interval", "verdict")
ANSWERS = ("Candidate", "A, top-1", "B, top-1", "points", "95 % interval", "verdict")
TEXTS = ("Candidate", "verdict")


def show_comparison(found: Comparison, notes: Sequence[str], *, as_json: bool) -> None:
    """Prints times, answers, rows that only one report has, and notes on other differences."""
    if as_json:
        print_json(_record(found, notes))
        return
    print_line(f"{found.model}: B against A", "bold")
    if found.yardstick is not None:
        print_line(f"Ratios are of times divided by those of {found.yardstick} in the same round.")
    if found.timed:
        print_table(_table(TIMES, map(_cells_of_times, found.timed)))
    if found.scored:
        print_table(_table(ANSWERS, map(_cells_of_answers, found.scored)))
    if found.answers is not None:
        print_line(f"Answers are not compared: {found.answers}.")
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
    ratio = timed.ratio
    shown = ("", "") if ratio is None else (f"{ratio.value:.3f}", f"{ratio.low:.3f} to {ratio.high:.3f}")
    times = (digits(timed.before_ms), digits(timed.after_ms))
    return (timed.name, str(timed.batch), *times, *shown, timed.verdict), STYLES.get(timed.verdict, "")


def _cells_of_answers(scored: Scored) -> tuple[Sequence[str], str]:
    points, change = -100 * scored.lost / scored.images, scored.change
    interval = f"{100 * change.low:+.2f} to {100 * change.high:+.2f}"
    top1 = (percent(scored.before / scored.images), percent(scored.after / scored.images))
    verdict = _verdict(scored)
    return (scored.name, *top1, f"{points:+.2f}", interval, verdict), "bold red" if verdict == "worse" else ""


def _verdict(scored: Scored) -> str:
    if not scored.shown:
        return "no difference shown"
    return "worse" if scored.lost > 0 else "better"


def _record(found: Comparison, notes: Sequence[str]) -> dict[str, Any]:
    timed = [{**dataclasses.asdict(row), "verdict": row.verdict} for row in found.timed]
    scored = [{**dataclasses.asdict(row), "verdict": _verdict(row)} for row in found.scored]
    return {**dataclasses.asdict(found), "timed": timed, "scored": scored, "notes": list(notes)}
