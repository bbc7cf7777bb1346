"""Writes the folder that a C or C++ project takes in: header, libraries, CMake package, example; all or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from wrn_deploy.embed.build import CORE, LIBRARY, build_libraries, try_library
from wrn_deploy.embed.environment import Environment, find_environment
from wrn_deploy.staging import commit, locked, staging
from wrn_deploy.version import __version__

__all__ = ["Embedded", "write_package"]

CMAKE = "lib/cmake/wrn_runner"
COPIED = {
    "native/wrn_runner.h": "include/wrn_runner.h",
    "native/wrn_runnerConfig.cmake": f"{CMAKE}/wrn_runnerConfig.cmake",
    "native/wrn_runnerConfigVersion.cmake": f"{CMAKE}/wrn_runnerConfigVersion.cmake",
    "example/classify.cpp": "example/classify.cpp",
    "example/CMakeLists.txt": "example/CMakeLists.txt",
}


@dataclass(frozen=True, slots=True)
class Embedded:
    """What was written: the files, relative to the folder, and the environment that the library starts."""

    folder: Path
    files: tuple[str, ...]
    environment: Environment


def write_package(folder: Path) -> Embedded:
    """Builds the library with the Python environment that runs now, tries it, and writes all into `folder`.

    What an earlier call wrote there is replaced; other files stay. The folder may be moved afterwards; the environment
    may not, unless the host sets WRN_RUNNER_PYTHON.

    Raises:
        MachineError: cffi, a compiler, or a libpython is missing, or the library cannot start Python.
    """
    environment = find_environment()
    sources = resources.files("wrn_deploy.embed")
    with staging(folder) as staged:
        for name, target in COPIED.items():
            text = (sources / name).read_text(encoding="utf-8").replace("@WRN_VERSION@", __version__)
            (staged / target).parent.mkdir(parents=True, exist_ok=True)
            (staged / target).write_text(text, encoding="utf-8")
        build_libraries(environment, staged / "lib")
        try_library(staged / "include", staged / "lib")
        with locked(folder):
            commit(staged, folder)
    return Embedded(folder, (*COPIED.values(), f"lib/{LIBRARY}", f"lib/{CORE}"), environment)
