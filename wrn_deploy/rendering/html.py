"""Writes a report as one self-contained page: no script, nothing loaded, every text from outside escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from wrn_deploy.bench.report.report import Report
from wrn_deploy.formatting import one_line
from wrn_deploy.rendering.notes import heading, warnings
from wrn_deploy.rendering.page.parts import Section, unbroken
from wrn_deploy.rendering.page.provenance import provenance_sections, size_section
from wrn_deploy.rendering.page.quality import quality_section
from wrn_deploy.rendering.page.speed import speed_sections
from wrn_deploy.rendering.page.style import STYLE
from wrn_deploy.rendering.summary import sentence
from wrn_deploy.rendering.table import RANDOM_WEIGHTS, tables

__all__ = ["to_html"]

ORDER = (
    "latency", "ratios", "batches", "spread", "accuracy", "size", "layers", "loads",
    "skipped", "notes", "conditions", "artifacts",
)  # fmt: skip


def to_html(report: Report) -> str:
    """The page, ready to be written as UTF-8; ends with a line break."""
    model, data = heading(report)
    about = f"Benchmark on {data}, {one_line(report.created).partition('T')[0]}"
    sections = _sections(report)
    return "\n".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Benchmark of {escape(model)}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
            '<a class="skip" href="#main">Skip to the results</a>',
            f'<header>\n<h1>{escape(model)}</h1>\n<p class="about">{escape(about)}</p>',
            f'<p class="warning" role="note"><b>{escape(RANDOM_WEIGHTS)}</b></p>' if report.random_weights else "",
            f'<p class="summary">{unbroken(escape(sentence(report)))}</p>',
            *(_warning(warning) for warning in warnings(report)),
            f'{_contents(sections)}\n</header>\n<main id="main">',
            *(section.to_html() for section in sections),
            "</main>\n</body>\n</html>\n",
        )
    )


def _sections(report: Report) -> list[Section]:
    found = {table.name: table for table in tables(report)}
    answers = (quality_section(report, found.get("answers")), size_section(report))
    sections = [*speed_sections(report, found), *filter(None, answers), *provenance_sections(report)]
    return sorted(sections, key=lambda section: ORDER.index(section.name))


def _warning(text: str) -> str:
    return f'<p class="warning" role="note"><b>Warning:</b> {escape(text)}</p>'


def _contents(sections: Sequence[Section]) -> str:
    items = "\n".join(f'<li><a href="#{section.name}">{escape(section.title)}</a></li>' for section in sections)
    return f'<nav aria-label="Contents">\n<ul>\n{items}\n</ul>\n</nav>' if items else ""
