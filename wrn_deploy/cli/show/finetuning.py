"""Prints what fine-tuning measured on stdout, as a table or as JSON: each graph before it and after it."""

from __future__ import annotations

import typer
from rich.table import Table

from wrn_deploy.bench.report.finetuning import Finetuned, Finetuning, Standing
from wrn_deploy.cli.show.tables import new_table, print_heading, print_line, print_table
from wrn_deploy.formatting import percent

__all__ = ["show_finetuning"]


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
