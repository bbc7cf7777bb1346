"""A real Triton server and NVIDIA's client for the tests, in build/triton beside the project's own environment.

The server is in the wheel nvidia-pytriton, whose pin of numpy < 2 only its own Python API needs; the client wants
protobuf 6. Neither may change the packages that the other tests run with, so each has a folder of its own.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

__all__ = ["client_site", "run_client", "server_site"]

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "triton"
SERVER = ("nvidia-pytriton==0.7.0",)
CLIENT = ("tritonclient==2.73.0", "grpcio", "protobuf<7", "python-rapidjson", "urllib3", "packaging")
INSTALL_S = 300


def server_site() -> Path:
    """The folder with the server's wheel; skips the test where it cannot run."""
    return _or_skip(_find_server())


def client_site() -> Path:
    """The folder with NVIDIA's client; skips the test where it cannot be installed."""
    return _or_skip(_installed("client", CLIENT))


def run_client(code: str, *arguments: object) -> Any:
    """Runs Python code with NVIDIA's client in a process of its own; returns the JSON that it prints."""
    paths = os.pathsep.join([str(client_site()), *filter(None, sys.path)])
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _or_skip(found: Path | str) -> Path:
    if isinstance(found, str):
        pytest.skip(found)
    return found


@functools.cache
def _find_server() -> Path | str:
    """The folder, or why there is none."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return "the wheel nvidia-pytriton is for Linux on x86-64"
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        return "Triton's python backend needs a Python with a shared library"
    site = _installed("server", SERVER)
    if isinstance(site, str):
        return site
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not (site / "pytriton" / "tritonserver" / "python_backend_stubs" / version).is_dir():
        return f"nvidia-pytriton has no python backend for Python {version}"
    program = site / "pytriton" / "tritonserver" / "bin" / "tritonserver"
    libraries = f"{site / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR')}"
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries}
    started = subprocess.run([program, "--help"], env=environment, capture_output=True, check=False)
    if b"--model-repository" not in started.stdout + started.stderr:
        return f"tritonserver does not start here: {started.stderr[-200:].decode(errors='replace')}"
    return site


@functools.cache
def _installed(name: str, packages: tuple[str, ...]) -> Path | str:
    """The folder with the packages, or why they cannot be installed; tests in several processes wait for each other."""
    site, mark = BUILD / name, BUILD / f"{name}.packages"
    wanted = " ".join((*packages, sys.version))
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if mark.is_file() and mark.read_text() == wanted:
            return site
        shutil.rmtree(site, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        try:
            done = subprocess.run(
                [*pip, "--target", site, *packages], capture_output=True, text=True, check=False, timeout=INSTALL_S
            )
        except subprocess.TimeoutExpired:
            return f"{packages[0]} could not be installed in {INSTALL_S} s"
        if done.returncode != 0:
            return f"{packages[0]} cannot be installed: {done.stderr.strip().splitlines()[-1]}"
        mark.write_text(wanted)
        return site
