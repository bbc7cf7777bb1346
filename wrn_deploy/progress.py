"""How steps report their progress: a protocol for the command line, and a silent one; the standard library only."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

__all__ = ["Progress", "Silent"]


class Progress(Protocol):
    """Receives what a step reports."""

    def task(self, title: str, total: int | None = None) -> AbstractContextManager[Callable[[int], None]]:
        """Starts a piece of work; in the block, call the function with the units done since its last call."""

    def note(self, text: str) -> None:
        """Shows something worth knowing."""

    def warn(self, text: str) -> None:
        """Shows something that may make a result doubtful."""


class Silent:
    """Shows nothing."""

    @contextlib.contextmanager
    def task(self, title: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """A function that does nothing."""
        del title, total
        yield lambda _units: None

    def note(self, text: str) -> None:
        """Does nothing."""

    def warn(self, text: str) -> None:
        """Does nothing."""
