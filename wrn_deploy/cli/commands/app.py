"""The application that the commands belong to, and where they tell their progress."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from wrn_deploy.cli.interrupt import Commands
from wrn_deploy.cli.options.shared import flag
from wrn_deploy.cli.progress import TerminalProgress
from wrn_deploy.version import __version__

__all__ = ["app", "new_progress"]

app = typer.Typer(
    cls=Commands,
    name="wrn-deploy",
    help="Wide Residual Networks from weights to a measured, proved TensorRT engine.",
    epilog="Exit codes: 0 done, 1 error, 2 wrong usage, 3 a gate failed, 4 this machine cannot do it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def new_progress() -> TerminalProgress:
    """Where a command tells its progress: stderr."""
    return TerminalProgress(Console(stderr=True, markup=False))


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wrn-deploy {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, flag("--version", "Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    del version
