"""Shuffles the threads of this process over its cores; the standard library only."""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path

__all__ = ["shuffle_threads"]


def shuffle_threads(chance: random.Random) -> None:
    """Moves each thread to a core by chance, and lets it go again; threads that a runtime has bound stay bound.

    Where a process's threads happen to be when it starts can stay so for minutes: two of them on one core while other
    work has the second, say. One copy of a contender then takes half as long again as another, in every round, which no
    number of rounds averages out (measured). Done before each turn, it makes that the luck of a turn, not of a process.
    Elsewhere than on Linux it does nothing.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    allowed = os.sched_getaffinity(0)
    for task in Path("/proc/self/task").iterdir():
        thread = int(task.name)
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if os.sched_getaffinity(thread) == allowed:
                os.sched_setaffinity(thread, {chance.choice(sorted(allowed))})
                os.sched_setaffinity(thread, allowed)
