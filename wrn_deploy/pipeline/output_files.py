"""Writes a report as JSON, CSV, Markdown and one HTML page."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from wrn_deploy.bench.report.report import Report
from wrn_deploy.errors import DeployError
from wrn_deploy.progress import Progress
from wrn_deploy.rendering.csv_file import to_csv
from wrn_deploy.rendering.html import to_html
from wrn_deploy.rendering.markdown import to_markdown

__all__ = ["check_folder", "write_reports"]


def check_folder(folder: Path) -> Path:
    """Returns `folder` if reports can be written into it, or into one made there; makes nothing yet.

    Raises:
        DeployError: they cannot.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        what = "a folder that cannot be written to" if there.is_dir() else "a file"
        raise DeployError(f"{there} is {what}: expected a folder for the reports; choose another --out")
    return folder


def write_reports(report: Report, folder: Path, name: str, progress: Progress) -> None:
    """Writes `name`.json, .csv, .md and .html into `folder`, which is made if need be: those of one report, or none."""
    texts = {".json": report.to_json(), ".csv": to_csv(report), ".md": to_markdown(report), ".html": to_html(report)}
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".reports-", dir=folder) as staged:
        written = [Path(staged, f"{name}{suffix}") for suffix in texts]
        for file, text in zip(written, texts.values(), strict=True):
            file.write_text(text, encoding="utf-8", newline="")
        placed = [file.replace(folder / file.name) for file in written]
    progress.note(f"reports: {', '.join(map(str, placed))}")
