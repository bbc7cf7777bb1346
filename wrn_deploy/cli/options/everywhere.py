"""What every command has: -q and -v, -o for --out, and the examples that its --help ends with."""

from __future__ import annotations

from contextvars import ContextVar
from enum import IntEnum
from typing import Annotated

import typer
from typer.core import TyperCommand

from wrn_deploy.cli.examples import EXAMPLES

__all__ = ["SHORT", "Verbosity", "complete", "set_verbosity", "verbosity"]

SHORT = {"--out": "-o"}  # the short names of options, beside -h, -q and -v


class Verbosity(IntEnum):
    """What a command prints beside its result."""

    QUIET = -1  # warnings and errors
    NORMAL = 0
    VERBOSE = 1  # all details of a result, and where an error came from


_CURRENT: ContextVar[Verbosity] = ContextVar("verbosity", default=Verbosity.NORMAL)


def verbosity() -> Verbosity:
    """What the command that runs was asked to print."""
    return _CURRENT.get()


def set_verbosity(wanted: Verbosity) -> None:
    """Sets it, for the command that runs in this context."""
    _CURRENT.set(wanted)


def complete(command: TyperCommand) -> None:
    """Adds to a command what every command has."""
    for parameter in command.params:
        parameter.opts += [short for name in parameter.opts if (short := SHORT.get(name)) is not None]
    command.params += _shared()
    examples = EXAMPLES.get(command.name or "", ())
    command.epilog = "\n\n".join(("Examples:", *examples)) if examples else None


def _shared() -> list[typer.core.TyperOption]:
    """The options -q and -v, as typer makes them from a function's parameters."""
    app = typer.Typer(add_completion=False)
    app.command()(_every_command)
    options = [option for option in typer.main.get_command(app).params if isinstance(option, typer.core.TyperOption)]
    for option in options:
        option.expose_value = False  # no command has a parameter for it: the callback keeps it
    return options


def _quiet(given: bool) -> bool:
    if given:
        set_verbosity(Verbosity.QUIET)
    return given


def _verbose(given: bool) -> bool:
    if given:
        set_verbosity(Verbosity.VERBOSE)
    return given


def _every_command(
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", metavar="", help="Print only the result, warnings and errors.", callback=_quiet),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", metavar="", help="Print all details, and the traceback of an error.", callback=_verbose
        ),
    ] = False,
) -> None:
    del quiet, verbose
