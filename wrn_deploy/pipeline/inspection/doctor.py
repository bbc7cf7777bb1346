"""What this machine has, and which steps of the pipeline it can do; imports none of the heavy packages but TensorRT."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from wrn_deploy.embed.environment import embedding_obstacle
from wrn_deploy.engines.flavor import Flavor, find_flavor, installed_flavors
from wrn_deploy.errors import DeployError
from wrn_deploy.machine import Gpu, describe_machine, find_gpu, package_versions
from wrn_deploy.runtime.backend import find_runtime, runtimes
from wrn_deploy.runtime.sessions import providers
from wrn_deploy.version import __version__

__all__ = ["Diagnosis", "diagnose"]

PACKAGES = (
    "numpy", "pillow", "torch", "onnx", "onnx-ir", "onnxscript", "safetensors", "pyarrow", "onnxruntime",
    "onnxruntime-gpu", "onnxruntime-ep-nv-tensorrt-rtx", "pycuda", "cuda-bindings", "cffi",
)  # fmt: skip
NEEDED = {
    "train": ("torch", "safetensors"),
    "export": ("torch", "onnx", "onnx_ir", "onnxscript", "safetensors", "onnxruntime"),
    "calibrate": ("onnx", "onnx_ir", "onnxruntime"),
    "read parquet data": ("pyarrow",),
}
EXTRAS = {"onnxruntime": "cpu", "pyarrow": "parquet"}  # all others come with "export"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`found`: what there is, as text; `steps`: step -> why it cannot be done here, None where it can."""

    found: dict[str, str]
    steps: dict[str, str | None]


@dataclass(frozen=True, slots=True)
class _Library:
    """One TensorRT: its version, or why it cannot be used."""

    version: str | None
    trouble: str | None


def diagnose() -> Diagnosis:
    """Looks at this machine; TensorRT is imported to read its version, since only that shows that it loads."""
    machine = describe_machine()
    libraries = {flavor: _load(flavor) for flavor in Flavor}
    found = {
        "wrn-deploy": __version__,
        "Python": machine.python,
        "system": machine.system,
        "CPU": f"{machine.cpu}, {machine.cores} cores",
        "memory": f"{machine.memory_mib / 1024:.1f} GiB",
        "GPU": _describe_gpu(machine.gpu),
        **{name: package_versions(name).get(name, "not installed") for name in PACKAGES},
        **{
            find_runtime(flavor).title: library.version or library.trouble or ""
            for flavor, library in libraries.items()
        },
        "ONNX Runtime providers": ", ".join(providers()) or "none",
    }
    if len(package_versions("onnxruntime", "onnxruntime-gpu")) == 2:
        found["conflict"] = "onnxruntime and onnxruntime-gpu overwrite each other: uninstall both, then install one"
    return Diagnosis(found, _steps(libraries))


def _load(flavor: Flavor) -> _Library:
    if flavor not in installed_flavors():
        return _Library(None, "not installed")
    try:
        return _Library(find_flavor(flavor).version, None)
    except DeployError as error:
        return _Library(None, str(error))


def _steps(libraries: dict[Flavor, _Library]) -> dict[str, str | None]:
    steps = {step: _why_not(modules) for step, modules in NEEDED.items()}
    steps["build-engine"] = _why_no_plan(libraries)
    steps["embed"] = embedding_obstacle()
    return steps | {f"run with {runtime.title}": runtime.unfit(None) for runtime in runtimes().values()}


def _why_not(modules: tuple[str, ...]) -> str | None:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if not missing:
        return None
    extras = ",".join(sorted({EXTRAS.get(module, "export") for module in missing}))
    return f"{', '.join(missing).replace('_', '-')} missing: pip install 'wrn-deploy[{extras}]'"


def _why_no_plan(libraries: dict[Flavor, _Library]) -> str | None:
    usable = [flavor for flavor, library in libraries.items() if library.version is not None]
    if Flavor.RTX in usable or (usable and find_gpu() is not None):
        return None
    if usable:
        return "TensorRT builds on a GPU, and there is none: pip install 'wrn-deploy[rtx]' builds without one"
    return _troubles(libraries) or "no TensorRT: pip install 'wrn-deploy[gpu]' or 'wrn-deploy[rtx]'"


def _troubles(libraries: dict[Flavor, _Library]) -> str:
    """Why the installed ones cannot be used."""
    return "; ".join(libraries[flavor].trouble or "" for flavor in installed_flavors())


def _describe_gpu(gpu: Gpu | None) -> str:
    if gpu is None:
        return "none (nvidia-smi shows none, or is not there)"
    memory = f", {gpu.memory_mib / 1024:.0f} GiB" if gpu.memory_mib else ""
    return f"{gpu.name}{memory}, compute capability {gpu.compute_capability}, driver {gpu.driver}"
