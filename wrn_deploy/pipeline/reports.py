"""Writes a report as JSON, Markdown and one HTML page."""

from __future__ import annotations

from pathlib import Path

from wrn_deploy.bench.html import to_html
from wrn_deploy.bench.markdown import to_markdown
from wrn_deploy.bench.report import Report
from wrn_deploy.progress import Progress

__all__ = ["write_reports"]


def write_reports(report: Report, folder: Path, name: str, progress: Progress) -> None:
    """Writes `name`.json, .md and .html into `folder`, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {".json": report.to_json(), ".md": to_markdown(report), ".html": to_html(report)}
    for suffix, text in texts.items():
        file = folder / f"{name}{suffix}"
        written = file.with_name(f".{file.name}.tmp")
        written.write_text(text, encoding="utf-8")
        written.replace(file)
    progress.note(f"reports: {', '.join(str(folder / f'{name}{suffix}') for suffix in texts)}")
