"""What tests ask of the stand-in driver in their process: counts, broken rules, failing calls, a trace of the work."""

from __future__ import annotations

import ctypes
import functools
from dataclasses import astuple, dataclass, fields
from typing import Any

__all__ = ["Counts", "Span", "counts", "fail", "failed", "library", "trace", "traced", "violation", "violations"]


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of the whole process; those from `instances` on are of what is alive."""

    calls: int
    launches: int  # of graphs
    instantiated: int  # graphs, ever
    inferences: int  # that were started one by one
    instances: int  # of graphs
    graphs: int
    events: int
    device_blocks: int
    device_bytes: int
    pinned_blocks: int
    streams: int
    execution_contexts: int
    stack: int  # contexts of this thread
    retained: int  # references to the primary context

    def left(self) -> dict[str, int]:
        """What is alive, without the primary context, which a process keeps."""
        names = [field.name for field in fields(self)]
        alive = names[names.index("instances") : names.index("retained")]
        return {name: value for name, value in zip(names, astuple(self), strict=True) if name in alive and value > 0}

    def since(self, before: Counts) -> Counts:
        """The difference to an earlier state."""
        pairs = zip(astuple(self), astuple(before), strict=True)
        return Counts(*(now - then for now, then in pairs))


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of work that ran on a stream; times in ns."""

    kind: str
    stream: int
    start_ns: int
    end_ns: int
    size_bytes: int

    def overlaps(self, other: Span) -> bool:
        """Whether both ran at the same time."""
        return self.start_ns < other.end_ns and other.start_ns < self.end_ns


@functools.cache
def library() -> Any:
    """The stand-in, which PyCUDA and cuda-bindings have loaded, too."""
    driver = ctypes.CDLL("libcuda.so.1")
    for name in ("standin_failed", "standin_violations", "standin_traced"):
        getattr(driver, name).restype = ctypes.c_char_p
    driver.standin_execution_new.restype = ctypes.c_void_p
    for name in ("standin_execution_changed", "standin_execution_delete"):
        getattr(driver, name).argtypes = [ctypes.c_void_p]
    driver.standin_fail.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_int]
    driver.standin_violation.argtypes = [ctypes.c_char_p]
    return driver


def counts() -> Counts:
    """The present state."""
    values = (ctypes.c_long * len(fields(Counts)))()
    library().standin_counts(values)
    return Counts(*values)


def fail(n: int, error: int = 2, *, for_ever: bool = False) -> None:
    """Makes the n-th call of the driver from now fail with `error` (2: out of memory), or all from then on; 0: none."""
    library().standin_fail(n, error, int(for_ever))


def failed() -> str:
    """The function that was made to fail; empty: not yet."""
    return str(library().standin_failed().decode())


def violations() -> list[str]:
    """The rules that were broken since the last call."""
    return list(library().standin_violations().decode().splitlines())


def violation(text: str) -> None:
    """Notes a rule that was broken outside of the driver."""
    library().standin_violation(text.encode())


def trace(*, on: bool = True) -> None:
    """Forgets the recorded work, and records from now on or not."""
    library().standin_trace(int(on))


def traced() -> list[Span]:
    """The work that ended since `trace`, in the order of its ends."""
    rows = (line.split(" ", 4) for line in library().standin_traced().decode().splitlines())
    return [Span(kind, *map(int, numbers)) for *numbers, kind in rows]
