"""Writes the folder a C or C++ project includes: header, library, CMake package, example; all or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from wrn_deploy.embed.build import build_libraries, try_library
from wrn_deploy.embed.environment import PythonEnvironment, find_environment
from wrn_deploy.embed.native import bundled_onnxruntime, find_native_tools, install_native
from wrn_deploy.embed.packaged import find_packaged, install_packaged
from wrn_deploy.errors import UsageError
from wrn_deploy.files.staging import commit, locked, remove_lock, staging
from wrn_deploy.progress import Progress
from wrn_deploy.version import __version__

__all__ = ["Embedded", "write_package"]

CMAKE = "lib/cmake/wrn_runner"
EXAMPLE = {f"embed/example/{name}": f"example/{name}" for name in ("classify.cpp", "CMakeLists.txt")}
# What CMake installs for the library without Python, this lists for the one with it.
AROUND_PYTHON = {
    "native/include/wrn_runner.h": "include/wrn_runner.h",
    "native/LICENSE": "share/doc/wrn_runner/LICENSE",
    "native/cmake/wrn_runner.pc.in": "lib/pkgconfig/wrn_runner.pc",
    "embed/loader/wrn_runnerConfig.cmake": f"{CMAKE}/wrn_runnerConfig.cmake",
    "embed/loader/wrn_runnerConfigVersion.cmake": f"{CMAKE}/wrn_runnerConfigVersion.cmake",
    "embed/loader/lsan.supp": "share/wrn_runner/lsan.supp",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """What was written.

    Attributes:
        folder: where to.
        files: the files, relative to the folder.
        environment: the Python environment that the library starts; None: none.
        packaged: whether the library came with the installed wheel, and was not built here.
    """

    folder: Path
    files: tuple[str, ...]
    environment: PythonEnvironment | None
    packaged: bool


def write_package(
    folder: Path,
    progress: Progress,
    *,
    python: bool = False,
    headers: Path | None = None,
    tensorrt: Sequence[Path] = (),
) -> Embedded:
    """Writes the package of a C library that was tried into `folder`, which can be moved afterwards.

    The library in C++ is that of the installed wheel, if it has one and neither `headers` nor `tensorrt` is given; else
    it is built. Replaces the files of an earlier call; other files stay.

    Args:
        folder: where to.
        progress: told of the build.
        python: whether to build the library that starts the running Python environment. It has every backend, and the
            environment cannot be moved unless the host sets WRN_RUNNER_PYTHON. Otherwise the one in C++, which has
            ONNX Runtime on a CPU; the installed onnxruntime package's library is put beside it.
        headers: a folder with ONNX Runtime's C headers, to build the library in C++ with; default: where the system
            has them.
        tensorrt: folders with the headers of TensorRT, of TensorRT-RTX, or of both, to build what runs their plans too.

    Raises:
        UsageError: both `python` and `tensorrt`.
        MachineError: something that the build needs is missing, or the library does not work.
    """
    if python and tensorrt:
        raise UsageError("--python and --tensorrt: expected one; the library with Python inside runs plans already")
    environment = find_environment() if python else None
    packaged = find_packaged(progress) if not (python or headers or tensorrt) else None
    tools = find_native_tools(headers, tensorrt) if environment is None and packaged is None else None
    try:
        with progress.task(f"{'build' if packaged is None else 'copy'} the C library"), staging(folder) as staged:
            if packaged is not None:
                install_packaged(packaged, staged)
            elif tools is not None:
                install_native(tools, staged)
            if environment is not None:
                _write(AROUND_PYTHON, staged)
                build_libraries(environment, staged / "lib")
            else:
                for name, source in bundled_onnxruntime().items():
                    (staged / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, staged / name)
            _write(EXAMPLE, staged)
            if packaged is None:  # that one was tried, and needs no compiler
                try_library(staged / "include", staged / "lib")
            names = [str(path.relative_to(staged)) for path in staged.rglob("*") if not path.is_dir()]
            files = tuple(sorted(name for name in names if not name.startswith(".")))  # but for the folder's own lock
            with locked(folder):
                commit(staged, folder)
    finally:
        if folder.is_dir():
            remove_lock(folder)
    return Embedded(folder=folder, files=files, environment=environment, packaged=packaged is not None)


def _write(sources: dict[str, str], folder: Path) -> None:
    """Copies text files of this package to their places in a folder."""
    package = resources.files("wrn_deploy")
    for name, target in sources.items():
        text = (package / name).read_text(encoding="utf-8")
        for variable in ("@WRN_VERSION@", "@PROJECT_VERSION@"):
            text = text.replace(variable, __version__)
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        (folder / target).write_text(text, encoding="utf-8")
