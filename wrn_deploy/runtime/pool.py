"""Lends siblings of one opened backend to threads: a bounded number, created when first needed."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.backend import Backend

__all__ = ["Pool"]


class Pool:
    """At most `size` siblings, including `first`; when all are lent, callers wait.

    The last one returned is lent first, so that a service with one thread never creates a second.
    """

    def __init__(self, first: Backend, size: int) -> None:
        self.first = first
        self.size = size
        self._idle = [first]
        self._made = 1
        self._closed = False
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def lend(self) -> Iterator[Backend]:
        """A backend for this thread alone.

        Raises:
            DeployError: the pool is closed, or another sibling cannot be opened.
        """
        backend = self._take()
        try:
            yield backend
        finally:
            with self._changed:
                self._idle.append(backend)
                self._changed.notify()

    def fill(self) -> list[Backend]:
        """Creates all siblings, so that no later caller waits for that, and returns the idle ones.

        No other thread may use the pool meanwhile.
        """
        with self._changed:
            while self._made < self.size and not self._closed:
                self._idle.append(self.first.sibling())
                self._made += 1
            return list(self._idle)

    def close(self) -> None:
        """Waits for the lent ones, then closes all; may be called twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._idle) == self._made)
            while self._idle:
                self._idle.pop().close()
                self._made -= 1

    def _take(self) -> Backend:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._idle or self._made < self.size)
            if self._closed:
                raise DeployError("this runner is closed: open the bundle again")
            if self._idle:
                return self._idle.pop()
            self._made += 1
        try:
            return self.first.sibling()
        except BaseException:
            with self._changed:
                self._made -= 1
                self._changed.notify()
            raise
