"""Where a picture goes: asked about before the work, written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from wrn_deploy.errors import DeployError
from wrn_deploy.pipeline.output_files import check_folder
from wrn_deploy.progress import Progress

__all__ = ["check_picture", "write_svg"]


def check_picture(file: Path) -> Path:
    """Returns `file` if a picture can be written there, in a folder made then if need be; makes nothing yet.

    Raises:
        DeployError: it cannot.
    """
    check_folder(file.parent)
    if file.is_dir():
        raise DeployError(f"{file} is a folder: expected a file for the picture, as in picture.svg")
    return file


def write_svg(svg: str, file: Path, progress: Progress) -> None:
    """Writes the picture and tells where it is."""
    file.parent.mkdir(parents=True, exist_ok=True)
    written = file.with_name(f"{file.name}.tmp")
    written.write_text(svg, encoding="utf-8")
    written.replace(file)
    progress.note(f"picture: {file}")
