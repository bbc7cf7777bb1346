"""Starts processes that end when this one does, however it ends; the standard library only.

A parent that is killed cannot end its children, so on Linux the kernel does: each child holds the reading end of a pipe
that only its parent can write to, with SIGKILL as the pipe's signal. When the parent is gone the pipe closes, and the
kernel kills the child's process group at once, whatever it is doing: a compiler with its own children too. The kernel's
other way, PR_SET_PDEATHSIG, would kill a child when the thread that started it ends.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import IO

__all__ = ["Child", "follow_parent", "run_child", "serve_parent"]

LOOK_S = 0.5  # between two looks for the parent
SIGNAL_OF_PIPE: int | None = getattr(fcntl, "F_SETSIG", None)  # only Linux lets a program choose it


class Child(subprocess.Popen[bytes]):
    """A process in a process group of its own, which is killed when this process is gone.

    Ctrl-C in a terminal does not reach the group. A child of ours must do nothing before its parent's first word:
    a parent that is killed within the millisecond in which it starts a child only closes the connection to it.

    Args:
        command: the program and its arguments; it has no stdin.
        pass_fds: file descriptors that it keeps.
        stdout: where it prints to; by default nowhere.
        stderr: where its errors go to; None: where this process's go.
        env: its environment; None: this process's.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        pass_fds: Collection[int] = (),
        stdout: int | IO[bytes] = subprocess.DEVNULL,
        stderr: int | IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        reading, writing = os.pipe()
        weakref.finalize(self, os.close, writing)  # also when the interpreter exits
        try:
            super().__init__(
                command, pass_fds=[*pass_fds, reading], stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                env=env, process_group=0,
            )  # fmt: skip
            if SIGNAL_OF_PIPE is not None:
                fcntl.fcntl(reading, SIGNAL_OF_PIPE, signal.SIGKILL)
                fcntl.fcntl(reading, fcntl.F_SETOWN, -self.pid)  # negative: its group
                fcntl.fcntl(reading, fcntl.F_SETFL, fcntl.fcntl(reading, fcntl.F_GETFL) | os.O_ASYNC)
        finally:
            os.close(reading)


def run_child(
    command: Sequence[str | Path], *, timeout_s: float | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end and returns what it printed, as `subprocess.run` does.

    Raises:
        OSError: it cannot be started.
        subprocess.TimeoutExpired: it took longer; it has been killed.
    """
    with Child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as child:
        try:
            printed = child.communicate(timeout=timeout_s)
        except BaseException:
            child.kill()
            raise
    out, err = (text.decode("utf-8", "surrogateescape") for text in printed)
    return subprocess.CompletedProcess(child.args, child.returncode, out, err)


def serve_parent() -> None:
    """To be called first by a child of ours: it ends with its parent on other systems than Linux, too."""
    if SIGNAL_OF_PIPE is None:
        follow_parent()


def follow_parent() -> None:
    """Returns at once; from now on, this process is killed soon after its parent has ended."""
    parent = os.getppid()

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_S)
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel would: cleaning up could wait for something

    threading.Thread(target=look, name="follow-parent", daemon=True).start()
