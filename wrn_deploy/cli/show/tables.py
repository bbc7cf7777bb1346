"""What all results are printed with: tables, lines that are never broken, JSON; on stdout."""

from __future__ import annotations

import json
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["new_table", "print_heading", "print_json", "print_line", "print_table"]


def new_table(*headers: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table; the columns in `right` hold numbers. A cell that is too long continues on the next line."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for header in headers:
        table.add_column(header, justify="right" if header in right else "left", overflow="fold")
    return table


def print_table(table: Table, *, gap: bool = True) -> None:
    """Prints a table, and an empty line after it."""
    Console(markup=False).print(table, *([""] if gap else []), sep="\n")


def print_line(text: str | Text = "", style: str = "") -> None:
    """Prints one line, never broken: it can be searched and copied."""
    Console(markup=False).print(Text(text, style) if isinstance(text, str) else text, soft_wrap=True)


def print_heading(text: str, *, random_weights: bool) -> None:
    """Prints what the result is about, and a warning if its weights are random."""
    print_line(text, "bold")
    if random_weights:
        from wrn_deploy.rendering.table import RANDOM_WEIGHTS

        print_line(RANDOM_WEIGHTS, "bold red")


def print_json(record: Any) -> None:
    """Prints JSON."""
    typer.echo(json.dumps(record, indent=1))
