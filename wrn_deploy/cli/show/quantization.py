"""Prints what tuning and fine-tuning measured, as tables or as JSON, on stdout."""

from __future__ import annotations

import typer
from rich.table import Table

from wrn_deploy.bench.report.finetuning import Finetuned, Finetuning, Standing
from wrn_deploy.bench.report.tuning import Trial, Tuning
from wrn_deploy.cli.show.tables import new_table, print_heading, print_line, print_table
from wrn_deploy.formatting import percent

__all__ = ["show_finetuning", "show_tuning"]

SHOWN = 10  # layers; --json has all of them


def show_tuning(tuning: Tuning, *, as_json: bool) -> None:
    """Prints the frontier, the costliest layers, and the Convs that stay in fp16."""
    if as_json:
        typer.echo(tuning.to_json(), nl=False)
        return
    reference = tuning.reference
    about = f"{tuning.model} on {tuning.data}, {reference.images} images: fp32 {percent(reference.top1)}"
    print_heading(about, random_weights=tuning.random_weights)
    print_table(_frontier(tuning))
    print_table(_layers(tuning))
    if len(tuning.layers) > SHOWN:
        print_line(f"and {len(tuning.layers) - SHOWN} more Convs; --json names them and every set that was tried")
    print_line(_outcome(tuning))


def _frontier(tuning: Tuning) -> Table:
    headers = ("fp16 Convs", "MACs in INT8", "top-1", "drop", "±", "agreement", "logit error")
    table = new_table(*headers, "", right=headers)
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
    numbers = ("MACs", "logit error alone", "agreement alone")
    table = new_table("Conv, costliest per MAC first", *numbers, "", right=numbers)
    for layer in tuning.layers[:SHOWN]:
        alone = (f"{layer.alone.error:.3g}", percent(layer.alone.agreement))
        kept = "<- fp16" if layer.name in chosen else ""
        table.add_row(layer.name, f"{100 * layer.macs / macs:.1f} %", *alone, kept)
    return table


def _outcome(tuning: Tuning) -> str:
    if tuning.chosen is None:
        return f"no set met {tuning.budget}"
    kept = ", ".join(tuning.chosen.float_convs) or "none"
    fraction = f"{100 * tuning.chosen.int8_share:.1f} % of MACs in INT8"
    return f"kept in fp16: {kept}; {fraction}, {tuning.drop(tuning.chosen.score):.2f} points lost"


def show_finetuning(result: Finetuning, *, as_json: bool) -> None:
    """Prints how each graph did on the held-out images, and which step's values were written."""
    if as_json:
        typer.echo(result.to_json(), nl=False)
        return
    reference = result.reference
    top1 = "" if reference.top1 is None else f", fp32 {percent(reference.top1)} right"
    about = f"{result.model} trained on {result.data}, {result.images} images"
    print_heading(about, random_weights=result.random_weights)
    print_line(f"judged by {reference.images} held-out images of {result.held_out}{top1}")
    numbers = ("loss", "as fp32", "±", "right")
    table = new_table("graph", "", *numbers, "", right=numbers)
    for graph in result.graphs:
        _add(table, graph, result)
    print_table(table)
    improved = ", ".join(graph.key for graph in result.improved) or "none"
    print_line(f"written: {improved}")


def _add(table: Table, graph: Finetuned, result: Finetuning) -> None:
    table.add_row(graph.key, "before", *_cells(graph.before, result), "")
    if graph.kept is None:
        table.add_row("", "after", "", "", "", "", "not better: left unchanged")
        return
    steps = f"<- written, {graph.kept} of {result.schedule['steps']} steps"
    table.add_row("", "after", *_cells(graph.after, result), steps, style="bold")


def _cells(standing: Standing, result: Finetuning) -> list[str]:
    right = "" if standing.top1 is None else percent(standing.top1)
    return [f"{standing.loss:.4g}", percent(standing.agreement), f"{result.uncertainty(standing):.2f}", right]
