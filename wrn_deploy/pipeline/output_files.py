"""Writes reports and pictures: checks the place before the work, and writes all files or none."""

from __future__ import annotations

import contextlib
from pathlib import Path

from wrn_deploy.bench.report.report import Report
from wrn_deploy.errors import DeployError
from wrn_deploy.files.new_file import check_target, new_file, write_whole
from wrn_deploy.files.room import check_writable
from wrn_deploy.progress import Progress
from wrn_deploy.rendering.csv_file import to_csv
from wrn_deploy.rendering.html import files_of, to_html
from wrn_deploy.rendering.markdown import to_markdown
from wrn_deploy.rendering.pictures.badge import draw_badge
from wrn_deploy.rendering.summary_picture import draw_summary

__all__ = ["check_folder", "check_picture", "reports_of", "write_page", "write_reports", "write_svg"]


def reports_of(bundle: Path) -> Path:
    """The folder for reports and pictures of a bundle, within it.

    Raises:
        DeployError: it is a link: what comes with a bundle does not decide where this program writes.
    """
    folder = bundle / "reports"
    if folder.is_symlink():
        raise DeployError(
            f"{folder} is a link, and links in a bundle are not followed: remove it, or choose another --out"
        )
    return folder


def check_folder(folder: Path) -> Path:
    """Returns `folder` if reports can be written there; makes nothing yet.

    Raises:
        DeployError: it is a file, or cannot be written to.
    """
    check_writable(folder, "the reports")
    return folder


def write_reports(report: Report, folder: Path, name: str, progress: Progress) -> None:
    """Writes `name`.json and the other files of `files_of` into `folder`, which is made if missing."""
    contents = {
        "JSON": report.to_json().encode(),
        "CSV": to_csv(report).encode(),
        "Markdown": to_markdown(report).encode(),
        "page": to_html(report, name).encode(),
        "picture": draw_summary(report),
        "badge": draw_badge(report).to_file().encode(),
    }
    files = {folder / file: contents[kind] for kind, file in files_of(name).items()}
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:  # an error leaves the old files
        for path, content in files.items():
            stack.enter_context(new_file(path)).write(content)
    progress.note(f"reports: {', '.join(map(str, files))}")


def check_picture(file: Path) -> Path:
    """Returns `file` if a picture can be written there; makes nothing yet.

    Raises:
        DeployError: it is a folder or a device, or its folder cannot be written to.
    """
    check_folder(file.parent)
    check_target(file)
    return file


def write_page(page: str, file: Path, progress: Progress) -> None:
    """Writes the page and reports where it is; makes its folder if missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, page)
    progress.note(f"page: {file}")


def write_svg(svg: str, file: Path, progress: Progress) -> None:
    """Writes the picture and reports where it is; makes its folder if missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, svg)
    progress.note(f"picture: {file}")
