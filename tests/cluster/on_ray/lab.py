"""Several machines in one: nodes with a network, processes, a host name and a /tmp of their own, on a private bridge.

Each node is a process of `unshare`, whose end takes along everything on the node at once, as a power failure would, and
no interface of the host is touched. It needs root, and the programs ip, unshare and nsenter.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.process.children import Child

__all__ = ["Lab", "why_there_is_no_lab"]

ROOT = Path(__file__).resolve().parents[3]
NETWORK = "10.77.0"
PORT = 6379
SPACES = ("--net", "--pid", "--mount", "--uts")
PATIENCE_S = 60.0
# A node's first process: it makes the node, then waits. Only files that a node shares with others are outside /tmp/ray.
FIRST = (
    'hostname "$1"; mkdir -p /tmp/ray "$2"; mount --bind "$2" /tmp/ray; ip link set lo up; touch "$3"; exec sleep inf'
)


def why_there_is_no_lab() -> str | None:
    """Why nodes cannot be made here; None: they can."""
    missing = [name for name in ("ip", "unshare", "nsenter") if shutil.which(name) is None]
    if missing:
        return f"no program {' or '.join(missing)}"
    tried = subprocess.run(
        ["unshare", *SPACES, "--fork", "true"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return None if tried.returncode == 0 else f"no namespaces here: {tried.stderr.strip()}"


@dataclass(frozen=True, slots=True)
class Machine:
    """A node: the process that holds it, and its first process as the host numbers it."""

    holder: Child
    first: int
    address: str


class Lab:
    """Nodes by name; the first one has the bridge, and is never killed.

    Args:
        folder: for what nodes keep in /tmp/ray.
        environment: of every process on a node.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._machines, self._numbers = folder, dict[str, Machine](), 0
        paths = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
        self.environment = {**os.environ, "PYTHONPATH": paths, **environment}

    def add(self, name: str) -> None:
        """A new machine on the network."""
        self._numbers += 1
        number, ready = self._numbers, self._folder / f"{name}-{self._numbers}.ready"
        command = ["unshare", *SPACES, "--fork", "--kill-child", "--mount-proc"]
        own = self._folder / f"{name}-{number}"
        holder = Child([*command, "sh", "-ec", FIRST, "sh", name, own, ready], env=self.environment)
        _wait(ready.exists)
        (first,) = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
        machine = Machine(holder, int(first), f"{NETWORK}.{number}")
        self._machines[name] = machine
        if number == 1:
            self._on(name, "ip link add bridge type bridge; ip link set bridge up")
            self._on(name, f"ip addr add {machine.address}/24 dev bridge")
            return
        head = next(iter(self._machines))
        self._on(head, f"ip link add port{number} type veth peer name wire netns {first}", ("--net",))
        self._on(head, f"ip link set port{number} master bridge; ip link set port{number} up")
        self._on(name, f"ip addr add {machine.address}/24 dev wire; ip link set wire up")

    def start_ray(self, name: str, *, cpus: int = 1, environment: Mapping[str, str] | None = None) -> str:
        """Starts Ray on a machine: a head on the first one, elsewhere a node of it; returns what it printed."""
        head = next(iter(self._machines.values()))
        address = self._machines[name].address
        where = ["--head", f"--port={PORT}"] if address == head.address else [f"--address={self.head}"]
        options = (f"--node-ip-address={address}", f"--num-cpus={cpus}", "--object-store-memory=80000000")
        program = "import sys; from ray.scripts.scripts import main; sys.argv[0] = 'ray'; main()"
        more = ["--include-dashboard=false"] if "--head" in where else []
        done = self.run(name, [sys.executable, "-c", program, "start", *where, *options, *more], environment)
        return done.stdout + done.stderr

    @property
    def head(self) -> str:
        """The cluster's address."""
        return f"{next(iter(self._machines.values())).address}:{PORT}"

    def address(self, name: str) -> str:
        """A machine's address."""
        return self._machines[name].address

    def kill(self, name: str) -> None:
        """Takes a machine away, with all that runs on it and with its end of the wire."""
        machine = self._machines.pop(name)
        machine.holder.kill()
        machine.holder.wait()

    def run(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None, timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program on a machine to its end."""
        started = self.start(name, command, environment)
        try:
            out, err = started.communicate(timeout=timeout_s)
        finally:
            started.kill()
        return subprocess.CompletedProcess(command, started.returncode, out, err)

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Starts a program on a machine."""
        enter = ["nsenter", "--target", str(self._machines[name].first), *SPACES, "--", *command]
        given = {**self.environment, **(environment or {})}
        return subprocess.Popen(
            enter,
            cwd=ROOT,
            env=given,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def close(self) -> None:
        """Takes all machines away."""
        for name in [*self._machines][::-1]:
            self.kill(name)
        with contextlib.suppress(OSError):  # where nodes had theirs mounted, if it was made for that
            Path("/tmp/ray").rmdir()

    def _on(self, name: str, script: str, spaces: Sequence[str] = SPACES) -> None:
        """Runs a script on a machine; in its network alone, it knows processes by the host's numbers."""
        enter = ["nsenter", "--target", str(self._machines[name].first), *spaces, "--", "sh", "-ec", script]
        done = subprocess.run(enter, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{script}: {done.stderr}"


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "the machine did not start"
        time.sleep(0.02)
