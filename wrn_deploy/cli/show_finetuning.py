"""Prints what fine-tuning measured on stdout, as a table or as JSON: each graph before it and after it."""

from __future__ import annotations

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wrn_deploy.bench.report.finetuning import Finetuned, Finetuning, Standing
from wrn_deploy.formatting import percent
from wrn_deploy.rendering.table import RANDOM_WEIGHTS

__all__ = ["show_finetuning"]


def show_finetuning(result: Finetuning, *, as_json: bool) -> None:
    """Prints how each graph stood on the held-out images, and which step's values were written."""
    if as_json:
        typer.echo(result.to_json(), nl=False)
        return
    console = Console(markup=False)
    reference = result.reference
    top1 = "" if reference.top1 is None else f", fp32 {percent(reference.top1)} right"
    _line(console, f"{result.model} trained on {result.data}, {result.images} images", "bold")
    if result.random_weights:
        _line(console, RANDOM_WEIGHTS, "bold red")
    _line(console, f"judged by {reference.images} held-out images of {result.held_out}{top1}")
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("graph", overflow="fold")
    for header in ("", "loss", "as fp32", "±", "right"):
        table.add_column(header, justify="right" if header else "left")
    table.add_column("")
    for graph in result.graphs:
        _add(table, graph, result)
    console.print(table, "", sep="\n")
    improved = ", ".join(graph.key for graph in result.improved) or "none"
    _line(console, f"written: {improved}")


def _add(table: Table, graph: Finetuned, result: Finetuning) -> None:
    table.add_row(graph.key, "before", *_cells(graph.before, result), "")
    if graph.kept is None:
        table.add_row("", "after", "", "", "", "", "not better: left as it was")
        return
    steps = f"<- written, {graph.kept} of {result.schedule['steps']} steps"
    table.add_row("", "after", *_cells(graph.after, result), steps, style="bold")


def _cells(standing: Standing, result: Finetuning) -> list[str]:
    right = "" if standing.top1 is None else percent(standing.top1)
    return [f"{standing.loss:.4g}", percent(standing.agreement), f"{result.uncertainty(standing):.2f}", right]


def _line(console: Console, text: str, style: str = "") -> None:
    """One line, whatever the width: it can be searched and copied."""
    console.print(Text(text, style), soft_wrap=True)
