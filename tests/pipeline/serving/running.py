"""Starts `wrn-deploy serve` as users do, on free ports of this machine, and ends it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.serving.environment import ROOT, server_site
from wrn_deploy.serving.client import Client

__all__ = ["Serving", "serving"]

PROGRAM = "import sys; from wrn_deploy.cli import main; sys.argv[0] = 'wrn-deploy'; main()"
READY_S = 90


@dataclass(frozen=True, slots=True)
class Serving:
    """A running server."""

    process: subprocess.Popen[str]
    http: int
    grpc: int
    metrics: int
    printed: tuple[str, ...]
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    def client(self) -> Client:
        return Client(self.url, timeout_s=60)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextlib.contextmanager
def serving(folder: Path, *arguments: object) -> Iterator[Serving]:
    """Runs `wrn-deploy serve ARGUMENTS`; `folder` takes its log. It is ended at the end at the latest."""
    http, grpc, metrics = _free_ports(3)
    given = (f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}")
    command = [sys.executable, "-c", PROGRAM, "serve", "--drain-timeout=1", *map(str, arguments), *given]
    paths = os.pathsep.join([str(ROOT), *filter(None, sys.path), str(server_site())])
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert process.stdout is not None
    try:
        printed = []
        for line in process.stdout:
            printed.append(line.rstrip())
            if line.startswith("stop"):
                break
        assert printed, (folder / "serve.log").read_text()
        yield Serving(process, http, grpc, metrics, tuple(printed), folder / "serve.log")
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
