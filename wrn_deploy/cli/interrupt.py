"""Brings Ctrl-C past typer, which would end the process without a word."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

__all__ = ["Commands", "Interrupted"]


class Interrupted(Exception):  # noqa: N818 (no error of ours)
    """Ctrl-C during a command."""


class Commands(TyperGroup):
    """The group of commands; a KeyboardInterrupt leaves it as Interrupted, which typer does not know."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted from error
