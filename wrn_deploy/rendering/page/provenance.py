"""The sections about where the numbers come from: sizes, skipped rows, notes, conditions, artifacts."""

from __future__ import annotations

from functools import partial
from html import escape

from wrn_deploy.bench.report.report import Report
from wrn_deploy.formatting import file_size, one_line
from wrn_deploy.rendering.notes import conditions, notes, skips, surroundings
from wrn_deploy.rendering.page.parts import Section, figure, grid, table
from wrn_deploy.rendering.pictures.bars import file_sizes, memory

__all__ = ["provenance_sections", "size_section"]

SHORT_SHA256 = 12
SIZES = "The file that was measured; 1 MB is 10^6 bytes. Colours show the precision."
MEMORY = "The largest resident set of each contender's own process, with its runtime and the images."


def size_section(report: Report) -> Section | None:
    """File sizes and memory as bars, or None where neither is known."""
    figures = (figure(partial(file_sizes, report), SIZES), figure(partial(memory, report), MEMORY))
    body = "\n".join(drawn for drawn in figures if drawn)
    return Section("size", "Size and memory", body) if body else None


def provenance_sections(report: Report) -> list[Section]:
    """The sections that have something to show."""
    bodies = [
        ("skipped", "Skipped", _skipped(report)),
        ("notes", "Notes", _notes(report)),
        ("conditions", "Conditions", _conditions(report)),
        ("artifacts", "Artifacts", _artifacts(report)),
    ]
    return [Section(name, title, body) for name, title, body in bodies if body]


def _skipped(report: Report) -> str:
    items = "\n".join(
        f"<dt>{escape(', '.join(skip.names))}</dt><dd>skipped: {escape(skip.reason)}</dd>" for skip in skips(report)
    )
    return f'<dl class="skipped">\n{items}\n</dl>' if items else ""


def _notes(report: Report) -> str:
    items = "\n".join(f"<li>{escape(note)}</li>" for note in notes(report))
    return f'<ul class="notes">\n{items}\n</ul>' if items else ""


def _conditions(report: Report) -> str:
    pairs = "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in conditions(report))
    state = surroundings(report)
    return f"<dl>\n{pairs}\n</dl>" + ("" if state is None else f"\n<h3>{state.title}</h3>\n{table(state)}")


def _artifacts(report: Report) -> str:
    lines = [
        f'<tr><th scope="row">{escape(one_line(row.name))}</th>'
        f'<td class="text"><code>{escape(one_line(row.artifact or ""))}</code></td><td>{file_size(row.size_bytes)}</td>'
        f"<td><code>{escape((row.sha256 or '')[:SHORT_SHA256])}</code></td></tr>"
        for row in report.rows
        if row.artifact is not None or row.sha256 is not None
    ]
    if not lines:
        return ""
    caption = f"The files that were measured, with the first {SHORT_SHA256} digits of their sha256."
    return grid("artifacts", caption, ("Contender", "File", "Size", "sha256"), lines, (1,))
