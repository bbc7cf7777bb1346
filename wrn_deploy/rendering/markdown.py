"""Writes a report as GitHub-flavoured Markdown, with every text from outside escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from wrn_deploy.bench.report.report import Report
from wrn_deploy.rendering.notes import environment, heading, machine_state, notes, skips, summary, warnings
from wrn_deploy.rendering.table import Line, Table, tables

__all__ = ["to_markdown"]

# What would start markup within a line; underscores inside words and lone brackets are plain text already.
MARKUP = re.compile(r"[\\`*<|~]|&(?=[#A-Za-z])|(?<=\])\(|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def to_markdown(report: Report) -> str:
    """Heading, summary, warnings, tables, skipped rows, notes and environment; ends with a line break."""
    model, data = heading(report)
    state = machine_state(report)
    blocks = [
        f"# Benchmark of {_escape(model)} on {_escape(data)}",
        _escape(summary(report)),
        _list(f"**Warning:** {_escape(warning)}" for warning in warnings(report)),
        *(f"## {_escape(table.title)}\n\n{_table(table)}" for table in tables(report)),
        _skipped(report),
        "## Notes",
        _list(_escape(note) for note in notes(report)),
        "## Environment",
        _list(f"{name}: {_escape(value)}" for name, value in environment(report)),
        "" if state is None else _table(state),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _table(table: Table) -> str:
    columns = range(len(table.headers))
    rules = ["---" if column == 0 or table.is_text(column) else "---:" for column in columns]
    headers = [_escape(header) for header in table.headers]
    return "\n".join(_columns(texts) for texts in (headers, rules, *(_cells(line) for line in table.lines)))


def _cells(line: Line) -> list[str]:
    texts = [_escape(cell) for cell in line.cells]
    if line.strong is not None:
        texts[line.strong] = f"**{texts[line.strong]}**"
    return texts


def _skipped(report: Report) -> str:
    found = _list(_escape(skip.sentence) for skip in skips(report))
    return f"## Skipped\n\n{found}" if found else ""


def _list(texts: Iterable[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)


def _columns(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _escape(text: str) -> str:
    return MARKUP.sub(lambda match: f"\\{match.group()}", text)
