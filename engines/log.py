"""Collects TensorRT's messages during a build, and keeps its other output off the terminal."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from wrn_deploy.engines.layers import LAYERS_IN_LOG

__all__ = ["BuildLog", "make_logger", "quiet_stderr"]

# Messages about the driver on a machine without a GPU; they do not concern the build itself.
NO_GPU = re.compile(
    r"CUDA (initialization failure|driver).*(35|insufficient)|cudaError(InsufficientDriver)?.*35|error code 35",
    re.IGNORECASE,
)
MEMORY = {
    "weights_bytes": re.compile(r"Total Weights Memory: (\d+) bytes", re.IGNORECASE),
    "activation_bytes": re.compile(r"Total Activation Memory: (\d+) bytes", re.IGNORECASE),
    "scratch_bytes": re.compile(r"Total Scratch Memory: (\d+) bytes", re.IGNORECASE),
}


@dataclass(slots=True)
class BuildLog:
    """The builder's messages by severity, the memory figures it prints, in bytes, and its lists of layers.

    `no_gpu` has messages about a missing driver: harmless if the build needs none, else the reason why it failed.
    """

    errors: list[str] = field(default_factory=list)
    no_gpu: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    memory: dict[str, int] = field(default_factory=dict)
    layer_lists: list[str] = field(default_factory=list)

    def take(self, severity: str, message: str) -> None:
        """Adds one message; `severity` is the name of a member of the logger's Severity."""
        for key, pattern in MEMORY.items():
            match = pattern.search(message)
            if match:
                self.memory[key] = int(match[1])
        if LAYERS_IN_LOG in message:
            self.layer_lists.append(message)
        if NO_GPU.search(message):
            self.no_gpu.append(message.strip())
        elif severity in ("ERROR", "INTERNAL_ERROR"):
            self.errors.append(message.strip())
        elif severity == "WARNING" and message.strip() not in self.warnings:
            self.warnings.append(message.strip())


def make_logger(module: Any, log: BuildLog) -> Any:
    """A logger of TensorRT's `module` that writes to `log` only."""

    class Logger(module.ILogger):  # type: ignore[misc]  # the base class is known only at run time
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            log.take(str(severity.name), message)

    return Logger()


@contextlib.contextmanager
def quiet_stderr(captured: list[str]) -> Iterator[None]:
    """Captures what libraries print to file descriptor 2; afterwards `captured` has the lines.

    What Python prints meanwhile, such as progress, still appears.
    """
    sys.stderr.flush()
    with (
        tempfile.TemporaryFile() as sink,
        os.fdopen(os.dup(2), "w", errors="backslashreplace") as python,
        contextlib.redirect_stderr(python),
    ):
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            python.flush()
            os.dup2(python.fileno(), 2)
            sink.seek(0)
            captured.extend(sink.read().decode("utf-8", "replace").splitlines())
