"""Keeps each contender in a process of its own: its own peak memory, its own crash."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from wrn_deploy.bench.measuring.accuracy import Answers
from wrn_deploy.bench.measuring.latency import Times
from wrn_deploy.bench.measuring.loadgen import Load
from wrn_deploy.bench.measuring.logits import LogitFile
from wrn_deploy.bench.measuring.worker import Work
from wrn_deploy.bench.report.report import LoadResult, WarmUp
from wrn_deploy.errors import DeployError

__all__ = ["Worker"]

ENDING_S = 10  # seconds that a worker has to end after it was told to
PATIENCE_S = 900  # without a word from it, it hangs; opening may compile the network

# It searches modules where its parent does, and not in the current folder, as -m would.
PROGRAM = "import sys; _, socket, *sys.path = sys.argv; from wrn_deploy.bench.measuring import worker; worker.serve(int(socket))"


class Worker:
    """One contender in its own process; a context manager. The parent blocks while the worker works.

    Every method raises DeployError with the worker's own words, or with the signal that killed it.
    """

    def __init__(self, work: Work) -> None:
        ours, theirs = socket.socketpair()
        self._noise = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the worker)
        command = [sys.executable, "-P", "-c", PROGRAM, str(theirs.fileno()), *sys.path]
        self._process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=self._noise, stderr=self._noise
        )
        theirs.close()
        self._connection = Connection(ours.detach())
        try:
            self._call("open", work)
        except BaseException as error:
            self.__exit__(type(error))
            raise

    def warm_up(self, batch: int, least_s: float, most_s: float) -> tuple[WarmUp, float]:
        """Runs until its times are steady; how it went, and about how long a run takes, in ms."""
        warmed: tuple[WarmUp, float] = self._call("warm_up", batch, least_s, most_s)
        return warmed

    def time(self, batch: int, iterations: int) -> Times:
        """Times of `iterations` runs, in ms, by the host's clock and the device's."""
        times: Times = self._call("time", batch, iterations)
        return times

    def load(self, load: Load, folder: Path) -> LoadResult:
        """What LoadGen found in a scenario; its logs are in `folder`."""
        found: LoadResult = self._call("load", load, folder)
        return found

    def ask(self, advance: Callable[[int], None], logits: LogitFile | None = None) -> Answers:
        """Its answers to all images of the data, whose logits it writes or compares."""
        answers: Answers = self._call("ask", logits, advance=advance)
        return answers

    def peak_rss_bytes(self) -> int:
        """The largest resident set of its process so far."""
        return int(self._call("peak_rss_bytes"))

    def close(self) -> None:
        """Ends the process; may be called twice."""
        if self._connection.closed:
            return
        try:
            if self._process.poll() is None:
                self._connection.send(("close", ()))
                self._process.wait(ENDING_S)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
        finally:
            self._connection.close()
            self._process.wait()
            self._noise.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        if kind is not None:  # after an error or an interrupt it may be in the middle of something
            self._process.kill()
        self.close()

    def _call(self, name: str, *arguments: Any, advance: Callable[[int], None] | None = None) -> Any:
        try:
            self._connection.send((name, arguments))
            while True:
                if not self._connection.poll(PATIENCE_S):
                    self._process.kill()
                    raise DeployError(f"it hangs: no answer to {name!r} for {PATIENCE_S} s")
                kind, answer = self._connection.recv()
                if kind == "done":
                    return answer
                if kind == "failed":
                    raise DeployError(answer)
                if advance is not None:
                    advance(answer)
        except (EOFError, OSError) as error:
            raise DeployError(self._obituary()) from error

    def _obituary(self) -> str:
        try:
            code = self._process.wait(ENDING_S)
        except subprocess.TimeoutExpired:  # it has hung up, and hangs
            self._process.kill()
            code = self._process.wait()
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        self._noise.seek(0)
        lines = self._noise.read().decode("utf-8", "replace").strip().splitlines()
        return f"its process died ({cause}){': ' + lines[-1] if lines else ''}"
