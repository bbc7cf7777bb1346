"""Keeps what libraries print to file descriptor 2 off the terminal; the standard library only."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

from wrn_deploy.process.scratch import open_scratch_file

__all__ = ["quiet_stderr"]

TURN = threading.RLock()  # two threads that swap the descriptor at once would leave it closed


@contextlib.contextmanager
def quiet_stderr(captured: list[str]) -> Iterator[None]:
    """Captures what libraries print to file descriptor 2; afterwards `captured` has the lines.

    What Python prints meanwhile, such as progress, still appears. One thread at a time is in such a block.
    """
    sys.stderr.flush()
    with (
        TURN,
        open_scratch_file() as sink,
        os.fdopen(os.dup(2), "w", errors="backslashreplace") as python,
        contextlib.redirect_stderr(python),
    ):
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            python.flush()
            os.dup2(python.fileno(), 2)
            sink.seek(0)
            captured.extend(sink.read().decode("utf-8", "replace").splitlines())
