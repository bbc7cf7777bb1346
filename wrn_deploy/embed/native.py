"""Builds the C++ library with CMake, and finds what that needs; the standard library only."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from wrn_deploy.embed.tensorrt import PlanHeaders, find_cuda_headers, find_plan_headers
from wrn_deploy.errors import MachineError
from wrn_deploy.process.children import run_child
from wrn_deploy.process.scratch import scratch_folder

__all__ = ["NativeTools", "bundled_onnxruntime", "find_native_tools", "install_native", "native_obstacle"]

HEADER = "onnxruntime_c_api.h"
OLDEST_API = 17  # as in native/src/runner/onnxruntime.cpp
PLACES = ("/usr/include", "/usr/local/include", f"{sys.prefix}/include", f"{sys.base_prefix}/include")
WITHIN = ("", "onnxruntime", "include", "include/onnxruntime", "onnxruntime/core/session")
SOURCES = resources.files("wrn_deploy.native")


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeTools:
    """What builds the library.

    Attributes:
        cmake: its path.
        headers: the folder with ONNX Runtime's C header.
        plans: headers of TensorRT and TensorRT-RTX, to build what runs their plans too.
        cuda: the folder with CUDA's headers; None without plans.
    """

    cmake: str
    headers: Path
    plans: tuple[PlanHeaders, ...] = ()
    cuda: Path | None = None


def find_native_tools(headers: Path | None = None, tensorrt: Sequence[Path] = ()) -> NativeTools:
    """Examines this machine.

    Args:
        headers: where the user has ONNX Runtime's headers, or a release of it.
        tensorrt: where the user has the headers of TensorRT, of TensorRT-RTX, or of both; empty: build without.

    Raises:
        MachineError: not on Linux, or no CMake, no C++ compiler, or no headers of ONNX Runtime 1.17 or newer, of
            TensorRT or of CUDA.
    """
    if not sys.platform.startswith("linux"):
        raise MachineError(f"this is {sys.platform}: the C++ library is built on Linux alone")
    cmake = shutil.which("cmake")
    if cmake is None:
        raise MachineError("there is no cmake: install it, as in `apt install cmake`, or `pip install cmake`")
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise MachineError("there is no C++ compiler (c++, g++ or clang++): install one, as in `apt install g++`")
    folders = [headers] if headers is not None else [Path(place) for place in PLACES]
    found = next((folder / part for folder in folders for part in WITHIN if (folder / part / HEADER).is_file()), None)
    if found is None:
        raise MachineError(
            f"there is no {HEADER} in {', '.join(map(str, dict.fromkeys(folders)))}: install ONNX Runtime's headers, "
            "with `apt install libonnxruntime-dev` on Debian 13 or later; before, with "
            f"`sh {SOURCES / 'get-onnxruntime-headers'} /usr/local/include/onnxruntime`; elsewhere unpack a release of "
            "ONNX Runtime for C and name its folder with --headers"
        )
    text = (found / HEADER).read_text(encoding="utf-8", errors="replace")
    version = re.search(r"^#define ORT_API_VERSION (\d+)", text, re.MULTILINE)
    if version is None or int(version[1]) < OLDEST_API:
        has = f"has API {version[1]}" if version is not None else "names no ORT_API_VERSION"
        raise MachineError(
            f"{found / HEADER} {has}: expected {OLDEST_API} or newer, as ONNX Runtime 1.{OLDEST_API} has"
        )
    plans = tuple(find_plan_headers(folder) for folder in tensorrt)
    cuda = find_cuda_headers() if plans else None
    return NativeTools(cmake=cmake, headers=found.resolve(), plans=plans, cuda=cuda)


def native_obstacle() -> str | None:
    """Why the library cannot be built here, as far as is known in advance; None if it can."""
    try:
        find_native_tools()
    except MachineError as error:
        return str(error)
    return None


def install_native(tools: NativeTools, folder: Path) -> None:
    """Builds the library and installs header, library, CMake package and pkg-config file into `folder`.

    Raises:
        MachineError: CMake or the compiler fails; the text has what it says.
    """
    with scratch_folder() as work, resources.as_file(SOURCES) as sources:
        build, made = work / "build", work / "made"  # CMake does not take every name that a folder can have
        configure: list[str | Path] = [
            "-S",
            sources,
            "-B",
            build,
            "-DCMAKE_BUILD_TYPE=Release",
            "-DCMAKE_INSTALL_LIBDIR=lib",
            f"-DWRN_TENSORRT={'ON' if tools.plans else 'OFF'}",
        ]
        configure += [f"-D{plan.flavor.upper()}_INCLUDE_DIR={plan.folder}" for plan in tools.plans]
        configure += [f"-DCUDA_INCLUDE_DIR={tools.cuda}"] if tools.plans else []
        _run([tools.cmake, *configure, f"-DONNXRUNTIME_INCLUDE_DIR={tools.headers}"])
        _run([tools.cmake, "--build", build, "--parallel"])
        _run([tools.cmake, "--install", build, "--strip", "--prefix", made])
        shutil.copytree(made, folder, symlinks=True, dirs_exist_ok=True)


def bundled_onnxruntime() -> dict[str, Path]:
    """The library of the installed package onnxruntime and its licences, by their places in an embedded folder."""
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or not spec.submodule_search_locations:
        return {}
    package = Path(next(iter(spec.submodule_search_locations)))
    libraries = sorted((package / "capi").glob("libonnxruntime.so.1.*"))
    if not libraries:
        return {}
    texts = [package / name for name in ("LICENSE", "ThirdPartyNotices.txt")]
    licences = {f"share/doc/onnxruntime/{text.name}": text for text in texts if text.is_file()}
    return {"lib/libonnxruntime.so.1": libraries[-1], **licences}


def _run(command: list[str | Path]) -> None:
    done = run_child(command)
    if done.returncode != 0:
        said = f"{done.stdout}\n{done.stderr}".strip()
        raise MachineError(
            f"{command[0]} cannot build the C++ library: expected CMake 3.18 and a C++17 compiler. It says: "
            f"{said[-2000:]}"
        )
