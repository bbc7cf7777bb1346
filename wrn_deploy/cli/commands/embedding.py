"""The command that takes the runner into other languages: embed; at most 15 lines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from wrn_deploy.cli import options as opt
from wrn_deploy.cli.commands.app import app, new_progress
from wrn_deploy.cli.options import option
from wrn_deploy.cli.show_embedded import show_embedded
from wrn_deploy.embed.package import write_package

__all__ = ["embed"]


@app.command()
def embed(
    out: Annotated[Path, option("FOLDER", "For header, libraries, CMake package and example.")],
    as_json: opt.AsJson = False,
) -> None:
    """Build the C library: wrn_runner.h, libwrn_runner.so, a CMake package."""
    show_embedded(write_package(out, new_progress()), as_json=as_json)
