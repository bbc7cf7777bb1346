"""The embed step: the C library over the Runner, for programs in C and C++."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.embed.package import Embedded, write_package
from wrn_deploy.progress import Progress

__all__ = ["EmbedOptions", "Embedded", "embed_runner"]


@dataclass(frozen=True, slots=True)
class EmbedOptions:
    """Where to: a folder, made if need be; what an earlier call wrote there is replaced."""

    out: Path


def embed_runner(options: EmbedOptions, progress: Progress) -> Embedded:
    """Writes `wrn_runner.h`, `libwrn_runner.so`, a CMake package and an example into a folder.

    Raises:
        MachineError: a compiler, cffi or libpython is missing, or the library cannot start this environment.
    """
    with progress.task("build the C library"):
        return write_package(options.out)
