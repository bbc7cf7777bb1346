"""What this machine has, and which steps of the pipeline it can do; imports none of the heavy packages but TensorRT."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from wrn_deploy import __version__
from wrn_deploy.engines.flavor import Flavor, find_flavor, installed_flavors
from wrn_deploy.errors import DeployError
from wrn_deploy.machine import Gpu, describe_machine, find_gpu, package_versions
from wrn_deploy.sessions import providers

__all__ = ["Diagnosis", "diagnose"]

PACKAGES = (
    "numpy", "pillow", "torch", "onnx", "onnx-ir", "onnxscript", "safetensors", "pyarrow", "onnxruntime",
    "onnxruntime-gpu", "pycuda", "cuda-bindings",
)  # fmt: skip
NEEDED = {
    "train": ("torch", "safetensors"),
    "export": ("torch", "onnx", "onnx_ir", "onnxscript", "safetensors", "onnxruntime"),
    "calibrate": ("onnx", "onnx_ir", "onnxruntime"),
    "predict and bench with PyTorch": ("torch", "safetensors"),
    "predict and bench with ONNX Runtime": ("onnxruntime",),
    "read parquet data": ("pyarrow",),
}
EXTRAS = {"onnxruntime": "cpu", "pyarrow": "parquet"}  # all others come with "export"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`found`: what there is, as text; `steps`: step -> why it cannot be done here, None where it can."""

    found: dict[str, str]
    steps: dict[str, str | None]


def diagnose() -> Diagnosis:
    """Looks at this machine; TensorRT is imported to read its version, since only that shows that it loads."""
    machine = describe_machine()
    found = {
        "wrn-deploy": __version__,
        "Python": machine.python,
        "system": machine.system,
        "CPU": f"{machine.cpu}, {machine.cores} cores, {machine.memory_mib / 1024:.1f} GiB",
        "GPU": _describe_gpu(machine.gpu),
        **{name: package_versions(name).get(name, "not installed") for name in PACKAGES},
        **{f"{flavor} (TensorRT)": _describe_flavor(flavor) for flavor in Flavor},
        "ONNX Runtime providers": ", ".join(providers()) or "none",
    }
    if "onnxruntime" in package_versions("onnxruntime") and package_versions("onnxruntime-gpu"):
        found["conflict"] = "onnxruntime and onnxruntime-gpu overwrite each other: uninstall both, then install one"
    return Diagnosis(found, _steps())


def _steps() -> dict[str, str | None]:
    steps: dict[str, str | None] = {}
    for step, modules in NEEDED.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        extras = ",".join(sorted({EXTRAS.get(module, "export") for module in missing}))
        steps[step] = f"{', '.join(missing)} missing: pip install 'wrn-deploy[{extras}]'" if missing else None
    steps["build-engine"] = (
        None if installed_flavors() else "no TensorRT: pip install 'wrn-deploy[gpu]' or 'wrn-deploy[rtx]'"
    )
    steps["predict and bench with TensorRT"] = _why_no_engine()
    return steps


def _why_no_engine() -> str | None:
    if find_gpu() is None:
        return "no CUDA GPU on this machine"
    missing = [name for name in ("pycuda",) if importlib.util.find_spec(name) is None]
    if missing or not installed_flavors():
        return f"{', '.join(missing) or 'TensorRT'} missing: pip install 'wrn-deploy[gpu]'"
    return None


def _describe_gpu(gpu: Gpu | None) -> str:
    if gpu is None:
        return "none (nvidia-smi lists none)"
    return (
        f"{gpu.name}, compute capability {gpu.compute_capability}, {gpu.memory_mib / 1024:.0f} GiB, driver {gpu.driver}"
    )


def _describe_flavor(flavor: Flavor) -> str:
    if flavor not in installed_flavors():
        return "not installed"
    try:
        return find_flavor(flavor).version
    except DeployError as error:
        return str(error)
