"""Prints a report on a terminal or into a pipe; the one file of this package that imports rich."""

from __future__ import annotations

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from wrn_deploy.bench.report import Report
from wrn_deploy.bench.summary import sentence
from wrn_deploy.bench.table import MEDIAN, RANDOM_WEIGHTS, SIZE, Line, Table, cells, conditions, heading

__all__ = ["print_report"]

LATENCY = range(7)  # columns: the contender and its times
OF_ROW = (0, *range(7, 11))  # columns: the contender, its accuracy and its sizes


def print_report(report: Report, console: Console) -> None:
    """Prints title, summary, table, skipped rows, notes and conditions, wrapped to the console's width.

    A console too narrow for all columns gets two tables, times and accuracy: no cell is cut.
    """
    table, (model, data) = cells(report), heading(report)
    _print(console, Text.assemble((model, "bold"), f" on {data}"))
    if report.random_weights:
        _print(console, Text(RANDOM_WEIGHTS, "bold red"))
    _print(console, Text(sentence(report)))
    measured = [line for line in table.lines if line.skipped is None]
    for grid in _grids(table, measured, console, timed=report.timed) if measured else ():
        console.print("", grid, sep="\n")
    console.print()
    for line in table.lines:
        if line.skipped is not None:
            _print(console, _skipped(line))
    _print(console, Text())
    for note in table.notes:
        _print(console, Text(note))
    _print(console, Text())
    console.print(_pairs(conditions(report)))


def _grids(table: Table, lines: list[Line], console: Console, *, timed: bool) -> list[Grid]:
    if not timed:
        return [_grid(table, lines, OF_ROW)]
    whole = _grid(table, lines, range(len(table.headers)))
    if console.measure(whole, options=console.options.update(width=1000)).maximum <= console.width:
        return [whole]
    firsts = [line for line in lines if line.first and any(line.cells[column] for column in OF_ROW[1:])]
    return [_grid(table, lines, LATENCY), *([_grid(table, firsts, OF_ROW)] if firsts else [])]


def _grid(table: Table, lines: list[Line], columns: Iterable[int]) -> Grid:
    grid = Grid(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for column in columns:
        name = column == 0
        grid.add_column(Text(table.headers[column]), justify="left" if name else "right", no_wrap=not name)
    for line in lines:
        style = {MEDIAN: "bold"} if line.best else {}
        grid.add_row(*(Text(line.cells[column], style.get(column, "")) for column in columns))
    return grid


def _skipped(line: Line) -> Text:
    size = line.cells[SIZE]
    name = f"{line.cells[0]} (built, {size}) " if size else f"{line.cells[0]} "
    return Text.assemble((name, "bold"), line.skipped or "")


def _pairs(pairs: Iterable[tuple[str, str]]) -> Grid:
    grid = Grid.grid(padding=(0, 2))
    for name, value in pairs:
        grid.add_row(Text(name, "dim"), Text(value, overflow="fold"))
    return grid


def _print(console: Console, text: Text) -> None:
    text.overflow = "fold"
    console.print(text, highlight=False)
