"""What all results are printed with: tables, lines that are never broken, JSON; on stdout."""

from __future__ import annotations

import json
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from wrn_deploy.cli.terminal import TerminalConsole
from wrn_deploy.formatting import printable

__all__ = ["cell", "new_table", "print_heading", "print_json", "print_json_text", "print_line", "print_table"]


def new_table(*headers: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table; the columns in `right` hold numbers. A cell that is too long continues on the next line."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for header in headers:
        table.add_column(header, justify="right" if header in right else "left", overflow="fold")
    return table


def print_table(table: Table, *, gap: bool = True) -> None:
    """Prints a table, and an empty line after it."""
    TerminalConsole().print(table, *([""] if gap else []), sep="\n")


def print_line(text: str | Text = "", style: str = "") -> None:
    """Prints one line, never broken: it can be searched and copied."""
    TerminalConsole().print(cell(text, style) if isinstance(text, str) else text, soft_wrap=True)


def cell(text: str, style: str = "") -> Text:
    """A text on one line that rich leaves as it is: it highlights no numbers in it."""
    return Text(printable(text, breaks=False), style)


def print_heading(text: str, *, random_weights: bool) -> None:
    """Prints what the result is about, and a warning if its weights are random."""
    print_line(text, "bold")
    if random_weights:
        from wrn_deploy.rendering.table import RANDOM_WEIGHTS

        print_line(RANDOM_WEIGHTS, "bold red")


def print_json(record: Any) -> None:
    """Prints JSON."""
    print_json_text(json.dumps(record, indent=1) + "\n")


def print_json_text(text: str) -> None:
    """Prints a text that is JSON, in ASCII, and ends with a line break."""
    typer.echo(text.replace("\x7f", "\\u007f"), nl=False)  # DEL, the control character that JSON leaves as it is
