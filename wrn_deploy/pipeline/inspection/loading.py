"""Tries what GPU rows stand on, each in a process of its own: it may crash, and CUDA must not start in this one."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from dataclasses import dataclass

from wrn_deploy.process.children import run_child

__all__ = ["ATTEMPTS", "Attempt", "try_loading"]

TIMEOUT_S = 120
PROGRAM = "import sys; _, code, *sys.path = sys.argv; exec(code)"
# An ONNX graph of one Relu, float32 (1), opset 13: the smallest that a provider is opened with.
GRAPH = bytes.fromhex(
    "080812003a330a0c0a0178120179220452656c751201675a0f0a0178120a0a08080112040a020801620f0a0179120a0a08080112040a02"
    "080142040a00100d"
)
OPEN = (
    "from wrn_deploy.runtime.providers import {0}; from wrn_deploy.runtime.sessions import open_session; "
    f"open_session({GRAPH!r}, provider={{0}})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One thing to try.

    Args:
        title: what it is called.
        package: its distribution: it is tried if that is installed.
        code: Python that raises an error if it cannot be used here.
        backends: the start of the names of the backends that need it.
    """

    title: str
    package: str
    code: str
    backends: tuple[str, ...] = ()


ATTEMPTS = (
    Attempt(
        title="PyCUDA",
        package="pycuda",
        code="import pycuda.driver; pycuda.driver.init()",
        backends=("tensorrt",),
    ),
    Attempt(
        title="cuda-bindings",
        package="cuda-bindings",
        code="from cuda.bindings import runtime; error, _ = runtime.cudaGetDeviceCount()\n"
        "if error: raise RuntimeError(runtime.cudaGetErrorString(error)[1].decode())",
    ),
    Attempt(title="NVML", package="nvidia-ml-py", code="import pynvml; pynvml.nvmlInit()"),
    Attempt(
        title="ONNX Runtime CUDA",
        package="onnxruntime-gpu",
        code=OPEN.format("CUDA"),
        backends=("onnxruntime_cuda",),
    ),
)


def try_loading(attempt: Attempt) -> str | None:
    """Why it cannot be used here, in one line; None: it can."""
    command = [sys.executable, "-P", "-c", PROGRAM, attempt.code, *sys.path]
    try:
        done = run_child(command, timeout_s=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"it hangs: not finished after {TIMEOUT_S} s"
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return f"its process died ({signal.Signals(-done.returncode).name})"
    last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return re.sub(r"^[\w.]+: ", "", last)  # without the class of the error
