"""Writes the folder a C or C++ project includes: header, libraries, CMake package, example; all or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from wrn_deploy.embed.build import CORE, LIBRARY, build_libraries, try_library
from wrn_deploy.embed.environment import PythonEnvironment, find_environment
from wrn_deploy.files.staging import commit, locked, staging
from wrn_deploy.progress import Progress
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """The written files, relative to the folder, and the Python environment that the library starts."""

    folder: Path
    files: tuple[str, ...]
    environment: PythonEnvironment


def write_package(folder: Path, progress: Progress) -> Embedded:
    """Builds the C library for the running Python environment, tries it, and writes the package into `folder`.

    Replaces the files of an earlier call; other files stay. The folder can be moved afterwards; the environment cannot,
    unless the host sets WRN_RUNNER_PYTHON.

    Raises:
        MachineError: cffi, a compiler, or a libpython is missing, or the library cannot start Python.
    """
    environment = find_environment()
    sources = resources.files("wrn_deploy.embed")
    with progress.task("build the C library"), staging(folder) as staged:
        for name, target in COPIED.items():
            text = (sources / name).read_text(encoding="utf-8").replace("@WRN_VERSION@", __version__)
            (staged / target).parent.mkdir(parents=True, exist_ok=True)
            (staged / target).write_text(text, encoding="utf-8")
        build_libraries(environment, staged / "lib")
        try_library(staged / "include", staged / "lib")
        with locked(folder):
            commit(staged, folder)
    files = (*COPIED.values(), f"lib/{LIBRARY}", f"lib/{CORE}")
    return Embedded(folder=folder, files=files, environment=environment)
