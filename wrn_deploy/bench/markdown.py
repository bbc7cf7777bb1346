"""Writes a report as GitHub-flavoured Markdown, with every text from outside escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence

from wrn_deploy.bench.report import Report
from wrn_deploy.bench.summary import sentence
from wrn_deploy.bench.table import MEDIAN, SIZE, Line, Table, cells, conditions, heading

__all__ = ["to_markdown"]

# What would start markup within a line; underscores inside words and lone brackets are plain text already.
MARKUP = re.compile(r"[\\`*<|~]|&(?=[#A-Za-z])|(?<=\])\(|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def to_markdown(report: Report) -> str:
    """Heading, summary, table, skipped rows, notes and conditions; ends with a line break."""
    table, (model, data) = cells(report), heading(report)
    blocks = [
        f"# Benchmark of {_escape(model)} on {_escape(data)}",
        _escape(sentence(report)),
        _measured(table),
        _skipped(table),
        "\n".join(f"- {_escape(note)}" for note in table.notes),
        "## Conditions",
        "\n".join(f"- {name}: {_escape(value)}" for name, value in conditions(report)),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _measured(table: Table) -> str:
    lines = [line for line in table.lines if line.skipped is None]
    if not lines:
        return ""
    rules = ["---", *["---:"] * (len(table.headers) - 1)]
    return "\n".join(_columns(texts) for texts in (table.headers, rules, *(_cells(line) for line in lines)))


def _cells(line: Line) -> list[str]:
    texts = [_escape(cell) for cell in line.cells]
    if line.best:
        texts[MEDIAN] = f"**{texts[MEDIAN]}**"
    return texts


def _skipped(table: Table) -> str:
    lines = []
    for line in table.lines:
        if line.skipped is not None:
            size = line.cells[SIZE]
            lines.append(f"- {_escape(line.cells[0])}{f' (built, {size})' if size else ''} {_escape(line.skipped)}")
    return "\n".join(["## Skipped", "", *lines]) if lines else ""


def _columns(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _escape(text: str) -> str:
    return MARKUP.sub(lambda match: f"\\{match.group()}", text)
