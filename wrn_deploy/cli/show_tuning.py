"""Prints what tuning found on stdout, as tables or as JSON: the frontier, and the layers that cost most."""

from __future__ import annotations

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wrn_deploy.bench.report.tuning import Trial, Tuning
from wrn_deploy.formatting import percent
from wrn_deploy.rendering.table import RANDOM_WEIGHTS

__all__ = ["show_tuning"]

SHOWN = 10  # layers; --json has all of them


def show_tuning(tuning: Tuning, *, as_json: bool) -> None:
    """Prints the frontier, the costliest layers, and the Convs that stay in fp16."""
    if as_json:
        typer.echo(tuning.to_json(), nl=False)
        return
    console = Console(markup=False)
    reference = tuning.reference
    measured = f"{tuning.model} on {tuning.data}, {reference.images} images: fp32 {percent(reference.top1)}"
    _line(console, measured, "bold")
    if tuning.random_weights:
        _line(console, RANDOM_WEIGHTS, "bold red")
    console.print(_frontier(tuning), "", sep="\n")
    console.print(_layers(tuning), "", sep="\n")
    if len(tuning.layers) > SHOWN:
        _line(console, f"and {len(tuning.layers) - SHOWN} more Convs; --json names them and every set that was tried")
    _line(console, _outcome(tuning))


def _frontier(tuning: Tuning) -> Table:
    table = _table("fp16 Convs", "MACs in INT8", "top-1", "drop", "±", "agreement", "logit error", "")
    for trial in tuning.frontier:
        score = trial.score
        table.add_row(
            str(len(trial.float_convs)),
            f"{100 * trial.int8_share:.1f} %",
            percent(score.top1),
            f"{tuning.drop(score):.2f}",
            f"{tuning.uncertainty(score):.2f}",
            percent(score.agreement),
            f"{score.error:.3g}",
            _mark(trial, tuning),
            style="bold" if trial == tuning.chosen else None,
        )
    return table


def _mark(trial: Trial, tuning: Tuning) -> str:
    if trial == tuning.chosen:
        return "<- chosen"
    return "meets" if tuning.budget.met(trial.score, tuning.reference) else ""


def _layers(tuning: Tuning) -> Table:
    chosen = tuning.chosen.float_convs if tuning.chosen is not None else ()
    macs = sum(layer.macs for layer in tuning.layers)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("Conv, costliest per MAC first", overflow="fold")
    for header in ("MACs", "logit error alone", "agreement alone"):
        table.add_column(header, justify="right")
    table.add_column("")
    for layer in tuning.layers[:SHOWN]:
        alone = (f"{layer.alone.error:.3g}", percent(layer.alone.agreement))
        kept = "<- fp16" if layer.name in chosen else ""
        table.add_row(layer.name, f"{100 * layer.macs / macs:.1f} %", *alone, kept)
    return table


def _outcome(tuning: Tuning) -> str:
    if tuning.chosen is None:
        return f"no set met {tuning.budget}"
    kept = ", ".join(tuning.chosen.float_convs) or "none"
    share = f"{100 * tuning.chosen.int8_share:.1f} % of MACs in INT8"
    return f"kept in fp16: {kept}; {share}, {tuning.drop(tuning.chosen.score):.2f} points lost"


def _table(*headers: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for header in headers:
        table.add_column(header, justify="right" if header else "left")
    return table


def _line(console: Console, text: str, style: str = "") -> None:
    """One line, whatever the width: it can be searched and copied."""
    console.print(Text(text, style), soft_wrap=True)
