"""Finds the program tritonserver, and its command line; the standard library only."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.errors import MachineError, UsageError
from wrn_deploy.serving.config import TritonBackend
from wrn_deploy.serving.versions import Triton

__all__ = [
    "INSTALL",
    "UNSAFE",
    "Addresses",
    "Program",
    "container_command",
    "find_program",
    "is_safe",
    "server_command",
]

# The wheel has a tritonserver with the python backend. It pins numpy < 2, which only its own Python API needs.
INSTALL = "pip install --no-deps nvidia-pytriton"


# NVIDIA's security bulletin of August 2025: CVE-2025-23310, -23311, -23319 and others, in all releases up to 25.06.
FIRST_SAFE = (2, 60)  # 25.08
UNSAFE = "in Triton before 2.60, a client can crash the server and run code in it (CVE-2025-23310, CVE-2025-23319)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where a server listens: a host, or an address of it, and three ports."""

    host: str = "127.0.0.1"
    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002

    def __post_init__(self) -> None:
        ports = (self.http, self.grpc, self.metrics)
        if len(set(ports)) < len(ports) or not all(1 <= port <= 65535 for port in ports):
            raise UsageError(f"ports {', '.join(map(str, ports))}: expected three different ones from 1 to 65535")

    @property
    def url(self) -> str:
        """The base of the HTTP addresses for a client on this machine."""
        return f"http://{self.client_host}:{self.http}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # a name
            return False

    @property
    def client_host(self) -> str:
        """The host for a client on this machine."""
        return "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104 (compared, not bound)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A tritonserver.

    Args:
        file: the program.
        wheel: the folder of nvidia-pytriton that it lies in; None: it is installed by itself.
    """

    file: Path
    wheel: Path | None = None

    def check_backend(self, backend: TritonBackend) -> None:
        """Raises MachineError if the server is known to lack one of Triton's backends: the wheel has one alone."""
        if self.wheel is not None and backend is not TritonBackend.PYTHON:
            raise MachineError(
                f"the server of nvidia-pytriton has no {backend} backend: use --backend python, give --server FILE, or "
                "run NVIDIA's container: `wrn-deploy serve BUNDLE --repository DIR --container`"
            )

    def check_addresses(self, addresses: Addresses) -> None:
        """Raises UsageError if the wheel's server, Triton 2.51.0, would listen to other machines."""
        if self.wheel is not None and not addresses.is_local:
            raise UsageError(
                f"--host {addresses.host} with the server of nvidia-pytriton: {UNSAFE}; expected an address of this "
                "machine alone, such as 127.0.0.1; use a newer tritonserver (--server FILE), or --container"
            )

    def environment(self) -> dict[str, str]:
        """Its environment variables; a server of the wheel runs models in this Python's environment."""
        before = dict(os.environ)
        if self.wheel is None:
            return before
        libraries = [str(self.wheel.parent / "nvidia_pytriton.libs"), str(sysconfig.get_config_var("LIBDIR"))]
        return {
            **before,
            "LD_LIBRARY_PATH": os.pathsep.join([*libraries, *filter(None, [before.get("LD_LIBRARY_PATH")])]),
            # The stub ignores PYTHONPATH, and looks on PATH for the Python whose packages it sees.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), before.get("PATH", "")]),
        }

    def backends(self, scratch: Path) -> Path | None:
        """The folder of backends, made in `scratch` of links: the wheel keeps a stub for each Python elsewhere.

        None: the server knows where they are.

        Raises:
            MachineError: the wheel has no stub for this Python.
        """
        if self.wheel is None:
            return None
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        stub = self.wheel / "tritonserver" / "python_backend_stubs" / version / "triton_python_backend_stub"
        if not stub.is_file():
            known = ", ".join(sorted(path.name for path in stub.parents[1].iterdir()))
            raise MachineError(f"nvidia-pytriton has no python backend for Python {version}: expected one of {known}")
        folder = scratch / "backends" / "python"
        folder.mkdir(parents=True)
        for source in (stub, *(self.wheel / "tritonserver" / "backends" / "python").iterdir()):
            (folder / source.name).symlink_to(source)
        return folder.parent


def find_program(given: Path | None) -> Program:
    """The server: the given one, that of PATH, or that of the package nvidia-pytriton.

    Raises:
        UsageError: the given one is not a program.
        MachineError: there is none; the text says how to get one.
    """
    if given is not None:
        if not (given.is_file() and os.access(given, os.X_OK)):
            raise UsageError(f"--server {given} is not a program: expected a tritonserver")
        return Program(file=given.absolute())
    found = shutil.which("tritonserver")
    if found is not None:
        return Program(file=Path(found))
    spec = importlib.util.find_spec("pytriton")
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        wheel = Path(folder)
        if (wheel / "tritonserver" / "bin" / "tritonserver").is_file():
            return Program(file=wheel / "tritonserver" / "bin" / "tritonserver", wheel=wheel)
    raise MachineError(
        f"no tritonserver on PATH or in the package nvidia-pytriton. Either install one with the python backend:\n"
        f"  {INSTALL}\n  pip install 'tritonclient[http,grpc]'  # for your client\n"
        "or give --server FILE, or run NVIDIA's container: `wrn-deploy serve BUNDLE --repository DIR --container`"
    )


def server_command(
    program: Program,
    repository: Path,
    addresses: Addresses,
    backends: Path | None,
    *,
    shared_memory: str,
    drain_s: int,
    on_gpu: bool,
    more: Sequence[str],
) -> list[str]:
    """The command line: information goes to no log, warnings and errors to stderr.

    Args:
        program: the server.
        repository: its model repository.
        addresses: where it listens.
        backends: the folder of backends; None: its own.
        shared_memory: how the names of the python backend's regions of shared memory begin.
        drain_s: seconds that requests have to end after a signal.
        on_gpu: whether this machine has a GPU.
        more: further options of the server, as in "http-thread-count=8".
    """
    options: Mapping[str, object] = {
        "model-repository": repository.absolute(),
        "http-address": addresses.host,
        "grpc-address": addresses.host,
        "metrics-address": addresses.host,
        "http-port": addresses.http,
        "grpc-port": addresses.grpc,
        "metrics-port": addresses.metrics,
        "exit-timeout-secs": drain_s,
        "disable-auto-complete-config": None,  # what is not in config.pbtxt would be asked of the model
        "log-info": "false",
        "backend-config": f"python,shm-region-prefix-name={shared_memory}",
        **({"backend-directory": backends} if backends is not None else {}),
        # Without a GPU these would fail, and warn about it.
        **({} if on_gpu else {"allow-gpu-metrics": "false", "pinned-memory-pool-byte-size": 0}),
    }
    given = [f"--{name}" if value is None else f"--{name}={value}" for name, value in options.items()]
    return [str(program.file), *given, *(f"--{option.removeprefix('--')}" for option in more)]


def container_command(repository: Path, addresses: Addresses, triton: Triton, *, gpus: bool) -> list[str]:
    """The docker command that serves a repository with NVIDIA's container; its ports are open on `host` alone."""
    ports = {addresses.http: 8000, addresses.grpc: 8001, addresses.metrics: 8002}
    published = [part for ours, theirs in ports.items() for part in ("-p", f"{addresses.host}:{ours}:{theirs}")]
    return [
        "docker", "run", "--rm", *(["--gpus=all"] if gpus else []), "--shm-size=256m", *published,
        "-v", f"{repository.absolute()}:/models:ro", triton.image, "tritonserver", "--model-repository=/models",
        "--disable-auto-complete-config",
    ]  # fmt: skip


def is_safe(version: str) -> bool:
    """Whether a release of Triton, as in "2.71.0", is not among those of UNSAFE."""
    numbers = tuple(int(part) for part in version.split(".") if part.isdecimal())
    return numbers >= FIRST_SAFE
