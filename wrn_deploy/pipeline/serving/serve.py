"""Runs a Triton server on a model repository until a signal comes: starts it, waits until it is ready, drains it."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.machine import find_gpu
from wrn_deploy.process.children import Child
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Progress
from wrn_deploy.serving.client import Client
from wrn_deploy.serving.program import UNSAFE, Addresses, Program, is_safe, server_command

__all__ = ["RunningServer", "ServerOptions", "run_server"]

LOOK_S = 0.1  # between two questions whether it is ready
GRACE_S = 10  # beyond the time to drain, before the server is killed
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (where the python backend makes it)
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How the server runs.

    Args:
        addresses: where it listens.
        drain_s: seconds that requests have to end after a signal.
        ready_s: seconds that it has to become ready.
        more: further options of tritonserver, as in "http-thread-count=8".
    """

    addresses: Addresses = field(default_factory=Addresses)
    drain_s: int = 30
    ready_s: float = 120.0
    more: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.drain_s < 0 or self.ready_s <= 0:
            raise UsageError(
                f"{self.drain_s} s to drain, {self.ready_s:g} s to get ready: expected at least 0 and more than 0"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningServer:
    """A server that is ready.

    Attributes:
        version: Triton's.
        addresses: where it listens.
        models: name -> its metadata: versions, inputs and outputs, as the server gives them.
    """

    version: str
    addresses: Addresses
    models: dict[str, dict[str, object]]


def run_server(
    program: Program,
    repository: Path,
    options: ServerOptions,
    progress: Progress,
    ready: Callable[[RunningServer], object],
) -> None:
    """Runs the server until SIGINT or SIGTERM, then lets it answer what it has accepted; for the main thread alone.

    A server that ends by itself is not started again.

    Args:
        program: the server.
        repository: its models.
        options: how it runs.
        progress: shows that it is starting and stopping.
        ready: is called once, when it can answer.

    Raises:
        DeployError: it did not start, ended by itself, or did not end; its own messages are on stderr.
        MachineError: it cannot run on this machine.
    """
    with scratch_folder() as scratch, _stopping() as stop:
        command = server_command(
            program,
            repository,
            options.addresses,
            program.backends(scratch),
            shared_memory=scratch.name,
            drain_s=options.drain_s,
            on_gpu=find_gpu() is not None,
            more=options.more,
        )
        with Child(command, stdout=sys.stderr.fileno(), env=program.environment()) as server:
            try:
                with progress.task("Starting tritonserver"):
                    _wait_ready(server, options, stop)
                if not stop.is_set():
                    running = _running(options.addresses)
                    if not (options.addresses.is_local or is_safe(running.version)):
                        progress.warn(f"Triton {running.version} listens to other machines: {UNSAFE}")
                    ready(running)
                while server.poll() is None and not stop.wait(LOOK_S):
                    pass
                if server.poll() is not None:
                    raise DeployError(f"tritonserver ended by itself (exit code {server.returncode}): see its messages")
                progress.note(f"stopping: accepted requests have {options.drain_s} s")
                _drain(server, options.drain_s, progress)
            finally:
                server.kill()
                server.wait()
                _remove_shared_memory(scratch.name)


@contextlib.contextmanager
def _stopping() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set during the block."""
    stop = threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_ready(server: Child, options: ServerOptions, stop: threading.Event) -> None:
    """Returns when the server is ready, or a signal came."""
    end = time.monotonic() + options.ready_s
    with Client(options.addresses.url, timeout_s=5) as client:
        while not stop.wait(LOOK_S):
            if server.poll() is not None:
                raise DeployError(
                    f"tritonserver did not start (exit code {server.returncode}): see its messages; is a port in use, "
                    "or does a model fail `wrn-deploy repository --check`?"
                )
            if client.is_ready():
                return
            if time.monotonic() > end:
                raise DeployError(f"tritonserver is not ready after {options.ready_s:g} s: raise --ready-timeout")


def _running(addresses: Addresses) -> RunningServer:
    with Client(addresses.url) as client:
        version = client.get("/v2")["version"]
        names = sorted(entry["name"] for entry in client.post("/v2/repository/index", {"ready": True}))
        models = {name: client.get(f"/v2/models/{name}") for name in names}
    return RunningServer(version=version, addresses=addresses, models=models)


def _drain(server: Child, drain_s: int, progress: Progress) -> None:
    """Ends the server. It waits for its clients to close their connections, then for the requests that still run.

    Raises:
        DeployError: it does not end.
    """
    server.send_signal(signal.SIGTERM)
    end = time.monotonic() + drain_s + GRACE_S
    while server.poll() is None:
        if time.monotonic() > end:
            raise DeployError(f"tritonserver did not end within {drain_s + GRACE_S} s, and was killed")
        time.sleep(LOOK_S)
    if server.returncode != 0:
        progress.warn(
            f"tritonserver ended after {drain_s} s while clients kept connections open: a request on them may have no "
            "answer; close idle connections first, or raise --drain-timeout"
        )


def _remove_shared_memory(prefix: str) -> None:
    """Removes the regions that the server left, which it does if it is killed or its time to end is over."""
    for region in SHARED_MEMORY.glob(f"{prefix}*"):
        region.unlink(missing_ok=True)
