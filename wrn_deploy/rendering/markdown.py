"""Writes a report as GitHub-flavoured Markdown, in which every text from outside is plain text."""

from __future__ import annotations

import re
from collections.abc import Iterable

from wrn_deploy.bench.report.environment import Remark, Severity
from wrn_deploy.bench.report.report import Report
from wrn_deploy.formatting import one_line
from wrn_deploy.rendering.notes import environment, heading, machine_state, notes, skips
from wrn_deploy.rendering.remarks import MARKS, headline, warnings
from wrn_deploy.rendering.sharing import command
from wrn_deploy.rendering.table import Table, tables

__all__ = ["to_markdown"]

# What would start markup: within a line (underscores inside words do not), and at the start of a list's item.
MARKUP = re.compile(
    r"[\\`*\[<|~$]|&(?=[#A-Za-z])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"
    r"|^>|^#(?=#{0,5}(?:\s|$))|^[+-](?=[\s-]|$)"
)
NUMBER = re.compile(r"^(\d{1,9})(?=[.)](?:\s|$))")  # would start a numbered list
# What GitHub makes a link of, or a mention. It looks for that in the finished text, where escapes are gone: only code
# keeps it away.
ADDRESS = re.compile(r"(?:://|www\.|@)+", re.IGNORECASE)


def to_markdown(report: Report) -> str:
    """Heading, headline, warnings, tables, skipped rows, notes and environment; ends with a line break."""
    model, data = heading(report)
    first = headline(report)
    state, skipped = machine_state(report), _list(skip.sentence for skip in skips(report))
    blocks = [
        f"# Benchmark of {_escape(model)} on {_escape(data)}",
        _marked(first) if first.severity is Severity.DISTRUST else _escape(first.text),
        "\n".join(f"- {_marked(one)}" for one in warnings(report) if one.severity is not Severity.DISTRUST),
        *(f"## {_escape(table.title)}\n\n{_table(table)}" for table in tables(report)),
        f"## Skipped\n\n{skipped}" if skipped else "",
        f"## Notes\n\n{_list(notes(report))}",
        f"## Reproduce\n\n{_escape(command(report))}",
        f"## Environment\n\n{_list(f'{name}: {value}' for name, value in environment(report))}",
        "" if state is None else _table(state),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _marked(remark: Remark) -> str:
    return f"**{MARKS[remark.severity]}:** {_escape(remark.text)}"


def _table(table: Table) -> str:
    rules = ["---" if column == 0 or table.is_text(column) else "---:" for column in range(len(table.headers))]
    rows = [[_escape(header) for header in table.headers], rules]
    for line in table.lines:
        cells = [_escape(cell) for cell in line.cells]
        if line.strong is not None:
            cells[line.strong] = f"**{cells[line.strong]}**"
        rows.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _list(texts: Iterable[str]) -> str:
    return "\n".join(f"- {_escape(text)}" for text in texts)


def _escape(text: str) -> str:
    escaped = MARKUP.sub(lambda match: f"\\{match.group()}", one_line(text))
    escaped = NUMBER.sub(r"\1\\", escaped)
    return ADDRESS.sub(lambda match: f"`{match.group()}`", escaped)
