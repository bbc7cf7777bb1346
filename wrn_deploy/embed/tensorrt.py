"""Finds the headers of TensorRT and of CUDA, which the C++ library's part for plans is built with; standard library."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.errors import MachineError

__all__ = ["PlanHeaders", "find_cuda_headers", "find_plan_headers"]

HEADER, VERSION = "NvInferRuntime.h", "NvInferVersion.h"
OLDEST = 10  # TensorRT's major version with the classes that native/tensorrt calls
WITHIN = ("", "include", f"include/{platform.machine()}-linux-gnu")
CUDA_HEADERS = ("cuda.h", "cuda_runtime_api.h", "crt/host_defines.h")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanHeaders:
    """The headers of one flavour of TensorRT, "tensorrt" or "tensorrt_rtx", of a version as in "11.1"."""

    flavor: str
    version: str
    folder: Path


def find_plan_headers(folder: Path) -> PlanHeaders:
    """Examines `folder`, a release of TensorRT or TensorRT-RTX or its headers.

    Raises:
        MachineError: there are no headers of TensorRT 10 or newer, or of TensorRT-RTX.
    """
    found = next((folder / part for part in WITHIN if (folder / part / HEADER).is_file()), None)
    if found is None:
        raise MachineError(
            f"there is no {HEADER} in {folder}: name the folder of a release of TensorRT or TensorRT-RTX, or its "
            "include folder; those of TensorRT are in include/ of github.com/NVIDIA/TensorRT too"
        )
    file = found / VERSION
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    numbers = {name: int(number) for name, number in re.findall(r"^#define (\w+) (\d+)\b", text, re.MULTILINE)}
    flavor = "tensorrt_rtx" if "TRT_MAJOR_RTX" in numbers else "tensorrt"
    suffix = "RTX" if flavor == "tensorrt_rtx" else "ENTERPRISE"
    major = numbers.get(f"TRT_MAJOR_{suffix}", numbers.get("NV_TENSORRT_MAJOR"))
    minor = numbers.get(f"TRT_MINOR_{suffix}", numbers.get("NV_TENSORRT_MINOR"))
    if major is None or minor is None:
        raise MachineError(f"{file} names no version: expected the headers of TensorRT {OLDEST} or newer")
    if flavor == "tensorrt" and major < OLDEST:
        raise MachineError(f"{file} is of TensorRT {major}.{minor}: expected {OLDEST} or newer")
    return PlanHeaders(flavor=flavor, version=f"{major}.{minor}", folder=found.resolve())


def find_cuda_headers() -> Path:
    """The folder of the CUDA driver's and runtime's headers: of a toolkit, or of NVIDIA's packages on PyPI.

    Raises:
        MachineError: there are none.
    """
    home, local = os.environ.get("CUDA_HOME"), Path("/usr/local")
    places = [Path(home)] if home else []
    places += [local / "cuda", *sorted(local.glob("cuda-*"), reverse=True), Path("/usr")]
    folders = [place / "include" for place in places]
    spec = importlib.util.find_spec("nvidia")
    for package in spec.submodule_search_locations or () if spec is not None else ():
        folders += sorted(Path(package).glob("*/include"), reverse=True)
    for folder in folders:
        if all((folder / header).is_file() for header in CUDA_HEADERS):
            return folder.resolve()
    raise MachineError(
        f"there are no headers of CUDA ({', '.join(CUDA_HEADERS)}): install a CUDA toolkit and name its folder in "
        "CUDA_HOME, or the packages nvidia-cuda-runtime and nvidia-cuda-crt"
    )
