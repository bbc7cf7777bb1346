"""Keeps each candidate in a process of its own: its own peak memory, its own crash."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self, cast

from wrn_deploy.bench.measuring.accuracy import Answers, LogitFile
from wrn_deploy.bench.measuring.latency import Times
from wrn_deploy.bench.measuring.loadgen import Load
from wrn_deploy.bench.measuring.worker import WorkerConfig
from wrn_deploy.bench.report.report import LoadResult, WarmUp
from wrn_deploy.data.sampling.block import Block
from wrn_deploy.errors import DeployError
from wrn_deploy.process.children import Child
from wrn_deploy.process.scratch import open_scratch_file

__all__ = ["Worker"]

EXIT_S = 10  # seconds that a worker has to end after `close`
TIMEOUT_S = 900  # a worker that is silent this long hangs; opening may compile the network

# It imports from where its parent does, not from the current folder, as -m would.
PROGRAM = (
    "import sys; _, socket, *sys.path = sys.argv; from wrn_deploy.bench.measuring import worker; "
    "worker.serve(int(socket))"
)


class Worker:
    """One candidate in its own process; a context manager. Each call blocks until the worker has answered.

    Every method raises DeployError with the worker's own error text, or with the signal that killed it.
    """

    def __init__(self, config: WorkerConfig) -> None:
        ours, theirs = socket.socketpair()
        self._output = open_scratch_file()  # closed with the worker
        command = [sys.executable, "-P", "-c", PROGRAM, str(theirs.fileno()), *sys.path]
        self._process = Child(command, pass_fds=[theirs.fileno()], stdout=self._output, stderr=self._output)
        theirs.close()
        self._connection = Connection(ours.detach())
        try:
            self._call("open", config)
        except BaseException as error:
            self.__exit__(type(error))
            raise

    def warm_up(self, batch: int, min_s: float, max_s: float) -> tuple[WarmUp, float]:
        """Runs until times are steady; returns the warm-up, and the median time of a run in ms."""
        return cast("tuple[WarmUp, float]", self._call("warm_up", batch, min_s, max_s))

    def time(self, batch: int, iterations: int) -> Times:
        """Times of `iterations` runs, in ms, by the host's clock and the device's."""
        return cast("Times", self._call("time", batch, iterations))

    def load(self, load: Load, folder: Path) -> LoadResult:
        """Runs a LoadGen scenario; its logs go to `folder`."""
        return cast("LoadResult", self._call("load", load, folder))

    def ask(
        self, advance: Callable[[int], None], logits: LogitFile | None = None, block: Block | None = None
    ) -> Answers:
        """Answers all images of the data, or those of one shard; writes or compares their logits."""
        return cast("Answers", self._call("ask", logits, block, advance=advance))

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
                self._process.wait(EXIT_S)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
        finally:
            self._connection.close()
            self._process.wait()
            self._output.close()

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
                if not self._connection.poll(TIMEOUT_S):
                    self._process.kill()
                    raise DeployError(f"it hangs: no response to {name!r} for {TIMEOUT_S} s")
                kind, answer = self._connection.recv()
                if kind == "done":
                    return answer
                if kind == "failed":
                    raise DeployError(answer)
                if advance is not None:
                    advance(answer)
        except (EOFError, OSError) as error:
            raise DeployError(self._exit_report()) from error

    def _exit_report(self) -> str:
        try:
            code = self._process.wait(EXIT_S)
        except subprocess.TimeoutExpired:  # it closed the connection and hangs
            self._process.kill()
            code = self._process.wait()
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        self._output.seek(0)
        lines = self._output.read().decode("utf-8", "replace").strip().splitlines()
        return f"its process died ({cause}){': ' + lines[-1] if lines else ''}"
