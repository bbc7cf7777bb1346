"""Runs a reader of native code in a process of its own, which a hostile file may end; the standard library only."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.files.budget import budget
from wrn_deploy.process.children import Child, serve_parent
from wrn_deploy.process.limited import allow_memory

__all__ = ["EXIT_TIMEOUT_S", "Apart", "how_it_ended", "limit_process", "serve"]

EXIT_TIMEOUT_S = 5  # of a killed process
ITEMS_AT_ONCE = 64
# Searches modules where the parent does, not in the current folder, as `-m` would.
PROGRAM = (
    "import sys; _, socket, memory, *sys.path = sys.argv; from wrn_deploy.data.containers import apart; "
    "apart.serve(int(socket), int(memory))"
)


class Apart:
    """Reads one file in processes of its own, each limited to memory for what the file may be inflated to.

    A process is started when it is needed, serves one call after another, and ends with this object or this process.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[_Worker] = []
        self._end = weakref.finalize(self, _end_all, self._idle)

    def stream(self, read: Callable[..., Iterable[Any]], *args: Any) -> Iterator[Any]:
        """Yields what `read(*args)` yields; both have to be picklable.

        Raises:
            DamagedFile: the process died, or took more than the budget's seconds for some items.
            DeployError: as `read` raises it.
        """
        worker = self._idle.pop() if self._idle else _Worker(self._path)
        is_usable = False
        try:
            for is_last, payload in worker.answers(read, args):
                is_usable = is_last
                if isinstance(payload, Exception):
                    try:
                        raise payload
                    finally:
                        del payload  # or the error would keep this frame and itself
                yield from payload
        finally:
            if is_usable:
                self._idle.append(worker)
            else:
                worker.kill()


def limit_process(memory_bytes: int) -> None:
    """Limits this process: memory beside what it has now, and no core file; SIGALRM ends it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    allow_memory(memory_bytes)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def how_it_ended(process: subprocess.Popen[bytes]) -> str:
    """The signal or the exit code of a process that has closed its connection."""
    try:
        code = process.wait(EXIT_TIMEOUT_S)
    except subprocess.TimeoutExpired:  # it does not exit
        process.kill()
        code = process.wait(EXIT_TIMEOUT_S)
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def serve(descriptor: int, memory_bytes: int) -> None:
    """Answers calls on the file descriptor until its other end is closed: some items at a time, the last ones marked.

    What takes more than the budget's seconds ends the process with SIGALRM, as native code cannot be interrupted.
    """
    serve_parent()
    limit_process(memory_bytes)
    connection, seconds = Connection(descriptor), budget().seconds
    while True:
        try:
            read, args = connection.recv()
            signal.alarm(seconds)
            chunk = []
            try:
                for item in read(*args):
                    chunk.append(item)
                    if len(chunk) == ITEMS_AT_ONCE:
                        signal.alarm(0)  # the other end may take its time
                        connection.send((False, chunk))
                        signal.alarm(seconds)
                        chunk = []
                last: Any = chunk
            except Exception as error:  # noqa: BLE001 (the other process raises it)
                connection.send((False, chunk))
                last = error if isinstance(error, DeployError) else DamagedFile(f"{type(error).__name__}: {error}")
            signal.alarm(0)
            connection.send((True, last))
        except (EOFError, OSError):
            return


class _Worker:
    """A process and the connection to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        memory = budget().inflated_bytes(path.stat().st_size)
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-c", PROGRAM, str(theirs.fileno()), str(memory), *sys.path]
        quiet = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
        self._process = Child(command, pass_fds=[theirs.fileno()], env={**os.environ, **quiet})
        theirs.close()
        self._connection = Connection(ours.detach())

    def answers(self, read: Callable[..., Iterable[Any]], args: tuple[Any, ...]) -> Iterator[tuple[bool, Any]]:
        """Yields whether these are the last items, and the items, or the error."""
        is_last = False
        try:
            self._connection.send((read, args))
            while not is_last:
                is_last, payload = self._connection.recv()
                yield is_last, payload
        except (EOFError, OSError) as error:
            cause = how_it_ended(self._process)
            more = f"; the limit is seconds={budget().seconds}" if cause == "SIGALRM" else ""
            raise DamagedFile(
                f"{self._path} crashed the process that read it ({cause}{more}): expected an intact file; download it "
                "again"
            ) from error

    def kill(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait(EXIT_TIMEOUT_S)
        self._connection.close()


def _end_all(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.kill()
