"""How long work tells of itself: a protocol for the command line, and a silent one; the standard library only."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

__all__ = ["Progress", "Silent"]


class Progress(Protocol):
    """Told of what happens; never asked anything."""

    def task(self, title: str, total: int | None = None) -> AbstractContextManager[Callable[[int], None]]:
        """A piece of work; within the block, the given function is called with the units done since the last call."""

    def note(self, text: str) -> None:
        """Something worth knowing."""

    def warn(self, text: str) -> None:
        """Something that may make a result doubtful."""


class Silent:
    """Says nothing."""

    @contextlib.contextmanager
    def task(self, title: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """A function that does nothing."""
        del title, total
        yield lambda _units: None

    def note(self, text: str) -> None:
        """Nothing."""

    def warn(self, text: str) -> None:
        """Nothing."""
