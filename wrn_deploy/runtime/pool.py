"""Lends siblings of one opened backend to threads: a bounded number, none lost to an interrupt or used after a fork."""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from wrn_deploy.errors import UsageError
from wrn_deploy.formatting import count
from wrn_deploy.runtime.backend import Backend

__all__ = ["Pool"]

CHECK_AGAIN_S = 0.02  # how late a waiting caller notices a context whose user was interrupted before it could say so

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Lease:
    """One call's claim to a context: it holds while the call is within `with lease.lock`."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    thread: int = field(default_factory=threading.get_ident)


@dataclass(slots=True)
class _Context:
    """A backend, and the last claim to it; it is free if that claim has ended."""

    backend: Backend
    lease: _Lease = field(default_factory=_Lease)


class Pool:
    """At most `size` siblings, including `first`; if all are lent, callers wait.

    The first free one is lent, so that a service with one thread never creates a second.

    **Interrupts.** A signal handler may raise between any two bytecodes, in a `finally` too, so no Python code can be
    relied on to give a context back. Nothing is given back here: a context is lent while the lock of its last lease is
    held, and only `with` statements on locks hold it. Lock, RLock and their `__enter__` and `__exit__` are C, and
    CPython runs no handler between them and the block's own exception table (python/cpython#74174; 3.14 did until
    python/cpython#148874). Only the wake-up of a waiting caller can be lost, so waiting has a time limit.

    **Forks.** Locks and the libraries' threads do not survive one: in a child every method raises before it touches a
    lock, and the backends are never freed, as libraries then wait for threads that only the parent has.
    """

    def __init__(self, first: Backend, size: int) -> None:
        self.process = os.getpid()
        self.first = first
        self.size = size
        self.closed = False
        self._contexts = [_Context(first)]
        self._turn = threading.RLock()  # who holds it may claim a context; a signal handler may call in between
        self._freed: queue.SimpleQueue[None] = queue.SimpleQueue()  # not empty: look again for a free context

    @property
    def forked(self) -> bool:
        """Whether this is another process than the one that opened it."""
        return os.getpid() != self.process

    def check_process(self) -> None:
        """Raises UsageError in a process forked from the one that opened it."""
        if self.forked:
            raise UsageError(
                f"this runner was opened in process {self.process}, called in process {os.getpid()} after fork: open "
                "the bundle again in the child, or use spawn"
            )

    def check_open(self) -> None:
        """Raises UsageError if it is closed."""
        if self.closed:
            raise UsageError("this runner is closed: open the bundle again")

    def call(self, work: Callable[[Backend], Result]) -> Result:
        """Returns what `work` returns for a backend that no other call uses meanwhile.

        Raises:
            UsageError: the pool is closed, or forked.
            DeployError: another sibling cannot be opened.
        """
        self.check_process()
        lease = _Lease()
        try:
            with lease.lock:
                with self._turn:
                    context = self._free()
                    context.lease = lease
                return work(context.backend)
        finally:
            self._wake()

    def iterate(self, work: Callable[[Backend], Iterator[Result]]) -> Iterator[Result]:
        """Yields what `work` yields for a backend that no other call uses until this iterator ends or is dropped.

        Raises:
            UsageError: as `call`.
            DeployError: as `call`.
        """
        self.check_process()
        lease = _Lease()
        try:
            with lease.lock:
                with self._turn:
                    context = self._free()
                    context.lease = lease
                yield from work(context.backend)
        finally:
            self._wake()

    def call_each(self, work: Callable[[Backend], None]) -> None:
        """Creates all siblings and calls `work` with each, after the call that uses it; further calls wait.

        Raises:
            UsageError: as `call`.
            DeployError: as `call`.
        """
        self.check_process()
        lease = _Lease()
        try:
            with lease.lock, self._turn:
                self._check_outside("warm it up")
                self.check_open()
                while len(self._contexts) < self.size:
                    self._add()
                for context in self._contexts:
                    with context.lease.lock:
                        pass  # its call has ended
                    context.lease = lease
                    work(context.backend)
        finally:
            self._wake()

    def close(self) -> None:
        """Refuses further calls, those that wait too; waits for running ones, then closes all; may be called twice.

        Raises:
            UsageError: forked, or within a call of this thread, as a signal handler may be.
        """
        self.check_process()
        self._check_outside("close it")
        self.closed = True
        self._wake()
        with self._turn:
            while self._contexts:
                context = self._contexts[-1]
                with context.lease.lock:
                    context.backend.close()
                self._contexts.pop()

    def _free(self) -> _Context:
        """A context that is not lent, made if need be; the caller has the turn."""
        while True:
            self.check_open()
            for context in self._contexts:
                if not context.lease.lock.locked():
                    return context
            if len(self._contexts) < self.size:
                return self._add()
            if all(context.lease.thread == threading.get_ident() for context in self._contexts):
                raise UsageError(
                    f"this thread is within {count(self.size, 'call')} of this runner, as a signal handler can be, and "
                    "waits for itself: call it outside the handler, or open it with more contexts"
                )
            with contextlib.suppress(queue.Empty):
                self._freed.get(timeout=CHECK_AGAIN_S)

    def _add(self) -> _Context:
        context = _Context(self.first.sibling())
        self._contexts.append(context)
        return context

    def _wake(self) -> None:
        """Lets the caller that waits look again; there is at most one, which has the turn."""
        if self._freed.empty():
            self._freed.put(None)

    def _check_outside(self, purpose: str) -> None:
        """Raises UsageError if this thread is within a call, for whose end it would wait for ever."""
        for lease in [context.lease for context in self._contexts]:
            if lease.thread == threading.get_ident() and lease.lock.locked():
                raise UsageError(
                    f"this thread is within a call of this runner, as a signal handler can be: {purpose} after the call"
                )

    def __del__(self) -> None:
        """In a child, keeps the backends for ever; the parent frees them."""
        if self.forked:
            for context in self._contexts:
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(context.backend))
