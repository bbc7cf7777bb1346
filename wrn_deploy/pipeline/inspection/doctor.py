"""Finds out what this machine has, and which steps it can do; imports no heavy package but TensorRT."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from wrn_deploy.embed.environment import embedding_obstacle
from wrn_deploy.embed.native import native_obstacle
from wrn_deploy.embed.packaged import find_packaged
from wrn_deploy.engines.flavor import Flavor, find_flavor, installed_flavors
from wrn_deploy.errors import DeployError, MachineError, how_to_install
from wrn_deploy.machine import Gpu, describe_machine, find_gpu, package_versions
from wrn_deploy.pipeline.inspection.loading import ATTEMPTS, try_loading
from wrn_deploy.pipeline.inspection.toolkit import missing_for_pycuda
from wrn_deploy.progress import Silent
from wrn_deploy.runtime.backend import find_runtime, runtimes
from wrn_deploy.runtime.providers import providers
from wrn_deploy.serving.program import INSTALL, find_program
from wrn_deploy.version import __version__

__all__ = ["Diagnosis", "diagnose"]

PACKAGES = (
    "numpy", "pillow", "torch", "onnx", "onnx-ir", "onnxscript", "safetensors", "pyarrow", "onnxruntime",
    "onnxruntime-gpu", "onnxruntime-ep-nv-tensorrt-rtx", "pycuda", "cuda-bindings", "tensorrt-lean-cu13",
    "cffi",
)  # fmt: skip
NEEDED = {
    "train": ("torch", "safetensors"),
    "export": ("torch", "onnx", "onnx_ir", "onnxscript", "safetensors", "onnxruntime"),
    "calibrate": ("onnx", "onnx_ir", "onnxruntime"),
    "read parquet data": ("pyarrow",),
}
OLDEST_DRIVER = 580  # the first branch for CUDA 13: NVIDIA's CUDA release notes, "CUDA Driver"
EXTRAS = {"onnxruntime": "cpu", "pyarrow": "parquet"}  # all others come with "export"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What this machine has, as text by name, and why it cannot do each step (None: it can).

    `gpu` has what the GPU's rows stand on, as far as it is installed, and why each cannot be used (None: it can).
    """

    found: dict[str, str]
    steps: dict[str, str | None]
    gpu: dict[str, str | None]


def diagnose() -> Diagnosis:
    """Examines this machine; imports TensorRT to read its version, since only that shows that it loads."""
    machine = describe_machine()
    versions: dict[Flavor, str] = {}
    troubles: dict[Flavor, str] = {}  # of those that are installed
    for flavor in installed_flavors():
        try:
            versions[flavor] = find_flavor(flavor).version
        except DeployError as error:
            troubles[flavor] = str(error)
    found = {
        "wrn-deploy": __version__,
        "Python": machine.python,
        "system": machine.system,
        "CPU": f"{machine.cpu}, {machine.cores} cores",
        "memory": f"{machine.memory_mib / 1024:.1f} GiB",
        "GPU": _describe_gpu(machine.gpu),
        **{name: package_versions(name).get(name, "not installed") for name in PACKAGES},
        **{find_runtime(flavor).title: ({**troubles, **versions}).get(flavor, "not installed") for flavor in Flavor},
        "ONNX Runtime providers": ", ".join(providers()) or "none",
    }
    if len(package_versions("onnxruntime", "onnxruntime-gpu")) == 2:
        found["conflict"] = "onnxruntime and onnxruntime-gpu overwrite each other: uninstall both, then install one"
    steps = {step: _describe_missing(modules) for step, modules in NEEDED.items()}
    steps["build-engine"] = None
    if not versions:
        none = f"no TensorRT: {how_to_install('gpu', 'tensorrt')} or {how_to_install('rtx', 'tensorrt-rtx')}"
        steps["build-engine"] = "; ".join(troubles.values()) or none
    elif Flavor.RTX not in versions and find_gpu() is None:
        steps["build-engine"] = (
            "TensorRT needs a GPU to build, and there is none; TensorRT-RTX builds without one: "
            f"{how_to_install('rtx', 'tensorrt-rtx')}"
        )
    steps["embed"] = None if find_packaged(Silent()) is not None else native_obstacle()
    steps["embed --python"] = embedding_obstacle()
    steps["serve"] = _server_obstacle()
    gpu = _examine_gpu_host(machine.gpu)
    for name, runtime in runtimes().items():
        needed = [each.title for each in ATTEMPTS if name.startswith(each.backends)]
        unusable = [f"{title} cannot be used ({reason})" for title in needed if (reason := gpu.get(title)) is not None]
        steps[f"run with {runtime.title}"] = runtime.unfit(None) or "; ".join(unusable) or None
    return Diagnosis(found, steps, gpu)


def _server_obstacle() -> str | None:
    try:
        find_program(None)
    except MachineError:
        return f"no tritonserver: {INSTALL}, give --server FILE, or use --container"
    return None


def _examine_gpu_host(gpu: Gpu | None) -> dict[str, str | None]:
    examined: dict[str, str | None] = {}
    if gpu is not None:
        major = gpu.driver.partition(".")[0]
        old = major.isdecimal() and int(major) < OLDEST_DRIVER
        examined["NVIDIA driver"] = (
            f"{gpu.driver} is too old: CUDA 13 needs {OLDEST_DRIVER} or later; see docs/how-to/gpu.md" if old else None
        )
        if not package_versions("pycuda"):
            examined["what compiling PyCUDA needs"] = "\n".join(missing_for_pycuda()) or None
    return examined | {each.title: try_loading(each) for each in ATTEMPTS if package_versions(each.package)}


def _describe_missing(modules: tuple[str, ...]) -> str | None:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if not missing:
        return None
    extras = sorted({EXTRAS.get(module, "export") for module in missing})
    return f"{', '.join(missing).replace('_', '-')} missing: {how_to_install(extras, *missing)}"


def _describe_gpu(gpu: Gpu | None) -> str:
    if gpu is None:
        return "none (CUDA finds none, or nvidia-smi is missing)"
    memory = f", {gpu.memory_mib / 1024:.0f} GiB" if gpu.memory_mib else ""
    return f"{gpu.name}{memory}, compute capability {gpu.compute_capability}, driver {gpu.driver}"
