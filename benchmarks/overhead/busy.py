"""Keeps cores busy with processes that do nothing else, for benchmarks under load."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

__all__ = ["busy_cores"]

ENDLESS = (
    "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"  # ends with its parent, even a killed one
)


@contextlib.contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """Starts `count` processes, each of which wants a core, and stops them after the block."""
    processes = [subprocess.Popen([sys.executable, "-c", ENDLESS]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
