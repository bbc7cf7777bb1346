"""Prints a report on a terminal or into a pipe; the one file of this package that imports rich."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from wrn_deploy.bench.report.environment import Remark, Severity
from wrn_deploy.bench.report.report import Report
from wrn_deploy.formatting import count, printable
from wrn_deploy.rendering.notes import environment, heading, left_out, machine_state, notes, skips
from wrn_deploy.rendering.remarks import MARKS, headline, warnings
from wrn_deploy.rendering.table import RANDOM_WEIGHTS, Table, tables

__all__ = ["print_report"]

STYLES = {Severity.NOTE: "dim", Severity.CAUTION: "bold yellow", Severity.DISTRUST: "bold red"}
UNBOUNDED = 1000  # columns: wider than any table
NAME = 17  # columns: longer names wrap if the table needs the room


def print_report(report: Report, console: Console, *, details: bool = True) -> None:
    """Prints title, headline, warnings and tables, wrapped to the console's width.

    With `details` also skipped rows with their reasons, notes and environment; else how many rows were skipped. A table
    too wide for the console is continued below with its first columns again: no cell is cut.
    """
    model, data = heading(report)
    _print(console, Text.assemble((model, "bold"), f" on {data}"))
    if report.random_weights:
        _print(console, Text(RANDOM_WEIGHTS, "bold red"))
    first = headline(report)
    _print(console, _marked(first) if first.severity is Severity.DISTRUST else Text(first.text))
    for remark in warnings(report):
        if remark.severity is not Severity.DISTRUST:
            _print(console, _marked(remark))
    for table in tables(report):
        console.print()
        _print(console, Text(table.title, "bold"))
        console.print(*_grids(table, console), sep="\n\n")
    skipped = sum(row.skipped is not None for row in report.rows)
    if details:
        _print_details(report, console)
        return
    missing = left_out(report)
    if missing is not None:
        _print(console, Text(f"\n{missing}"))
    if skipped:
        _print(console, Text(f"\n{count(skipped, 'candidate')} skipped; -v prints the reasons.", "dim"))


def _print_details(report: Report, console: Console) -> None:
    for skip in skips(report):
        console.print()
        _print(console, Text.assemble((", ".join(skip.names), "bold"), f" skipped: {skip.reason}"))
    console.print()
    for note in notes(report):
        _print(console, Text(note))
    console.print()
    pairs = Grid.grid(padding=(0, 2))
    for name, value in environment(report):
        pairs.add_row(Text(name, "dim"), Text(value, overflow="fold"))
    console.print(pairs)
    state = machine_state(report)
    if state is not None:
        console.print("", *_grids(state, console), sep="\n")


def _marked(remark: Remark) -> Text:
    return Text.assemble((f"{MARKS[remark.severity]}: ", STYLES[remark.severity]), remark.text)


def _grids(table: Table, console: Console) -> list[Grid]:
    """The table, or its columns in parts that fit the console, each after the first columns that name the line."""
    keys = list(range(table.keys))
    parts: list[list[int]] = [[]]
    for column in range(table.keys, len(table.headers)):
        if parts[-1] and not _fits(_grid(table, [*keys, *parts[-1], column]), console):
            parts.append([])
        parts[-1].append(column)
    return [_grid(table, [*keys, *part]) for part in parts]


def _fits(grid: Grid, console: Console) -> bool:
    unbounded = console.options.update(width=UNBOUNDED)
    names = max(console.measure(cell, options=unbounded).maximum for cell in grid.columns[0].cells)
    return console.measure(grid, options=unbounded).maximum - max(0, names - NAME) <= console.width


def _grid(table: Table, columns: Sequence[int]) -> Grid:
    grid = Grid(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for column in columns:
        left = column == 0 or table.is_text(column)
        grid.add_column(Text(printable(table.headers[column])), justify="left" if left else "right", no_wrap=column > 0)
    for line in table.lines:
        cells = [
            Text(printable(cell), "bold" if column == line.strong else "") for column, cell in enumerate(line.cells)
        ]
        grid.add_row(*(cells[column] for column in columns))
    return grid


def _print(console: Console, text: Text) -> None:
    text.overflow = "fold"
    console.print(text, highlight=False)
