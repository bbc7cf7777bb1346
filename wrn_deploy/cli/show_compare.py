"""Prints what comparing two reports found, as tables or as JSON, on stdout."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wrn_deploy.bench.report.compare import Comparison, Scored, Timed, Verdict
from wrn_deploy.formatting import digits, percent

__all__ = ["show_comparison"]

STYLES = {Verdict.SLOWER: "bold red", Verdict.FASTER: "green"}
TIMES = ("Contender", "Batch", "A, ms", "B, ms", "B / A", "95 % interval", "verdict")
ANSWERS = ("Contender", "A, top-1", "B, top-1", "points", "95 % interval", "verdict")
TEXTS = ("Contender", "verdict")


def show_comparison(found: Comparison, notes: Sequence[str], *, as_json: bool) -> None:
    """Prints times, answers, what one report alone has, and notes on what else differs."""
    if as_json:
        typer.echo(json.dumps(_record(found, notes), indent=1))
        return
    console = Console(markup=False, highlight=False)
    console.print(Text(f"{found.model}: B against A", "bold"))
    if found.yardstick is not None:
        console.print(Text(f"Ratios are of times divided by those of {found.yardstick} in the same round."))
    if found.timed:
        console.print(_table(TIMES, map(_cells_of_times, found.timed)), "", sep="\n")
    if found.scored:
        console.print(_table(ANSWERS, map(_cells_of_answers, found.scored)), "", sep="\n")
    if found.answers is not None:
        console.print(Text(f"Answers are not compared: {found.answers}."))
    for where, names in (("A", found.only_before), ("B", found.only_after)):
        if names:
            console.print(Text(f"Only in {where}: {', '.join(names)}."))
    for note in notes:
        console.print(Text(note))


def _table(headers: Sequence[str], lines: Iterable[tuple[Sequence[str], str]]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for header in headers:
        table.add_column(header, justify="left" if header in TEXTS else "right")
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
    shares = (percent(scored.before / scored.images), percent(scored.after / scored.images))
    verdict = _verdict(scored)
    return (scored.name, *shares, f"{points:+.2f}", interval, verdict), "bold red" if verdict == "worse" else ""


def _verdict(scored: Scored) -> str:
    if not scored.shown:
        return "no difference shown"
    return "worse" if scored.lost > 0 else "better"


def _record(found: Comparison, notes: Sequence[str]) -> dict[str, Any]:
    timed = [{**dataclasses.asdict(one), "verdict": one.verdict} for one in found.timed]
    scored = [{**dataclasses.asdict(one), "verdict": _verdict(one)} for one in found.scored]
    return {**dataclasses.asdict(found), "timed": timed, "scored": scored, "notes": list(notes)}
