"""Starts a Ray cluster on this machine, or joins one, as privately as Ray allows; Ray is imported here alone."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wrn_deploy.cluster.options import AUTO, LOCAL, ClusterOptions
from wrn_deploy.errors import DeployError, MachineError, missing_package
from wrn_deploy.formatting import one_line
from wrn_deploy.machine import usable_cores
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.process.streams import quiet_stderr

__all__ = ["SETTINGS", "TOKEN_VARIABLES", "connected", "load_ray"]

# Ray reads its environment when it is imported, and its processes inherit it.
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # reports nothing to Ray's makers
    "RAY_AUTH_MODE": "token",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # prints no page to stdout for each worker that is lost
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a worker that claims no GPU sees those of its node
}
# Ray puts even a cluster of one machine on the machine's address in the network, except on systems for which it has no
# other clusters. With 0 in this variable, Linux counts as one of them.
CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
TOKEN_FILE = Path(".ray", "auth_token")  # in the home folder; where Ray looks last
ANSWER_S = 10.0  # for a cluster's head to accept a connection
JOIN_ATTEMPTS = ("RAY_gcs_server_port_wait_time_s", "5")  # one a second, with a token that may be wrong
LONGEST = 40  # characters of a folder for Ray's files: the names of its sockets take 65, and may have 107 in all


@contextlib.contextmanager
def connected(options: ClusterOptions) -> Iterator[Any]:
    """Ray, connected for the block. A cluster that this process is connected to already is used, and left.

    Raises:
        MachineError: Ray is not installed, or the cluster cannot be started or joined from here.
        DeployError: the cluster does not take the token.
    """
    ray = load_ray()
    if ray.is_initialized():
        yield ray
        return
    with contextlib.ExitStack() as stack:
        if options.address == LOCAL:
            _start(ray, stack.enter_context(_folder()))
        else:
            _join(ray, options.address)
        stack.callback(ray.shutdown)
        yield ray


def load_ray() -> Any:
    """The module, imported with SETTINGS where the user has no others; raises MachineError without it.

    A program that has imported it before has its own: Ray's defaults have a token for local clusters, too.
    """
    if "ray" not in sys.modules:
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise missing_package("ray", "cluster", "running on a cluster (--ray)") from error
    return ray


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder for Ray's sockets and logs, with a short name, since sockets must have one."""
    short = len(os.environ.get("TMPDIR") or tempfile.gettempdir()) <= LONGEST - len("/wrn-deploy-scratch-12345678")
    with scratch_folder(None if short else Path("/tmp")) as folder:  # noqa: S108 (a folder of our own in it)
        yield folder


def _start(ray: Any, folder: Path) -> None:
    """A cluster of this machine alone, with the user's token, or one that only its processes can read."""
    if not _has_token():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # it stays: this process's Ray reads it once
    try:
        with _on_loopback(ray):
            ray.init(
                address="local", num_cpus=usable_cores(), include_dashboard=False, log_to_driver=False,
                logging_level="ERROR", _temp_dir=str(folder),
            )  # fmt: skip
    except Exception as error:  # a node that does not start in time raises Exception itself
        raise MachineError(
            f"Ray cannot start a cluster on this machine ({_last_line(error)}): expected memory and disk space "
            "for its processes; run without --ray"
        ) from error


@contextlib.contextmanager
def _on_loopback(ray: Any) -> Iterator[None]:
    """What starts in the block listens on 127.0.0.1 alone, unless the user has set the variable.

    Ray's processes inherit it. This process's Ray has read it when it was imported, perhaps by the program that calls.
    """
    constants = ray._private.ray_constants  # noqa: SLF001 (no public name is read later)
    if CLUSTERS in os.environ:
        yield
        return
    before = constants.ENABLE_RAY_CLUSTER
    os.environ[CLUSTERS], constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        del os.environ[CLUSTERS]
        constants.ENABLE_RAY_CLUSTER = before


def _join(ray: Any, address: str) -> None:
    """Connects to a cluster of which this machine is a node."""
    _check_token(address)
    if address != AUTO:
        _check_answers(address)
    os.environ.setdefault(*JOIN_ATTEMPTS)
    printed: list[str] = []
    try:
        with quiet_stderr(printed):
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        if any("InvalidAuthToken" in text for text in (str(error), *printed)):
            raise DeployError(
                f"the Ray cluster at {address} does not take this token: expected the one that its nodes were "
                "started with, in RAY_AUTH_TOKEN or in the file that RAY_AUTH_TOKEN_PATH names"
            ) from error
        raise MachineError(
            f"cannot join the Ray cluster at {address} ({_last_line(error)}): expected this machine to be a node of "
            f"it; run `ray start --address={address}` here first"
        ) from error


def _check_token(address: str) -> None:
    """Refuses a cluster to which there is no token: Ray would wait long, and say little."""
    if os.environ.get("RAY_AUTH_MODE") != "token":
        return
    if not _has_token():
        raise MachineError(
            f"no token for the Ray cluster at {address}: expected the one that its nodes were started with, in "
            "RAY_AUTH_TOKEN or in the file that RAY_AUTH_TOKEN_PATH names; anyone who reaches a cluster without tokens "
            "can run programs on it"
        )


def _has_token() -> bool:
    return any(os.environ.get(name) for name in TOKEN_VARIABLES) or (Path.home() / TOKEN_FILE).exists()


def _last_line(error: Exception) -> str:
    """What Ray's text, which may have a traceback in it, ends with."""
    return one_line(([line for line in str(error).splitlines() if line.strip()] or [type(error).__name__])[-1])


def _check_answers(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_S).close()
    except OSError as error:
        raise MachineError(
            f"no Ray cluster answers at {address} ({error.strerror or error}): expected HOST:PORT of its head, as "
            "`ray start --head` prints it"
        ) from error
