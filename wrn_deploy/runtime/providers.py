"""ONNX Runtime's execution providers: their options, the libraries they need, and why one cannot be loaded here."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wrn_deploy.errors import MachineError, missing_package

__all__ = [
    "CPU", "CUDA", "CUDA_GRAPHS", "CUDA_NHWC", "RTX", "TENSORRT", "Provider", "has_provider", "import_onnxruntime",
    "load_libraries", "loading_failure", "plugin_devices", "providers", "tensorrt_mismatch",
]  # fmt: skip

NVIDIA = 0x10DE  # the PCI vendor
FP32 = {"use_tf32": "0"}  # fp32 is fp32, as in every graph of a bundle; ONNX Runtime's default is TF32
NHWC = {**FP32, "prefer_nhwc": "1"}
COLOUR = re.compile(r"\x1b\[[\d;]*m")
# What ONNX Runtime prints if it cannot load a provider's library, and what a failed call of CUDA raises.
NOT_LOADED = re.compile(r"Failed to load library \S+ with error: (.+)")
CUDA_FAILED = re.compile(r"CU\w+ failure \d+: [^;]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """An execution provider.

    Args:
        name: ONNX Runtime's name for it.
        device: where its inputs and outputs are, in ONNX Runtime's terms: "cpu", "cuda", "gpu".
        vendor: the PCI vendor of a plug-in's device; -1: none.
        plugin: the module of a plug-in provider; None: it is part of onnxruntime.
        options: its options.
        module: the module that brings the libraries it is linked to, and is imported for them; None: none.
    """

    name: str
    device: str
    vendor: int = -1
    plugin: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    module: str | None = None


CPU = Provider(name="CPUExecutionProvider", device="cpu")
CUDA = Provider(name="CUDAExecutionProvider", device="cuda", options=FP32)
CUDA_NHWC = Provider(name="CUDAExecutionProvider", device="cuda", options=NHWC)
CUDA_GRAPHS = Provider(name="CUDAExecutionProvider", device="cuda", options={**NHWC, "enable_cuda_graph": "1"})
# Its networks are not strongly typed: the flags allow the precisions that the graph already names.
TENSORRT = Provider(
    name="TensorrtExecutionProvider",
    device="cuda",
    options={"trt_fp16_enable": "1", "trt_int8_enable": "1"},
    module="tensorrt",
)
RTX = Provider(
    name="NvTensorRTRTXExecutionProvider", device="gpu", vendor=NVIDIA, plugin="onnxruntime_ep_nv_tensorrt_rtx"
)


def import_onnxruntime() -> Any:
    """The module, without its telemetry; raises MachineError if it is not installed."""
    if importlib.util.find_spec("onnxruntime") is None:
        raise missing_package("onnxruntime", "cpu", "running an ONNX graph")
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read at import; the wheels' telemetry is on otherwise
    import onnxruntime

    return onnxruntime


def providers() -> list[str]:
    """The execution providers of the installed ONNX Runtime; empty if it is not installed."""
    return list(import_onnxruntime().get_available_providers()) if importlib.util.find_spec("onnxruntime") else []


def has_provider(provider: Provider) -> bool:
    """Whether ONNX Runtime has the provider, or its plug-in is installed; loads nothing on a GPU."""
    if importlib.util.find_spec("onnxruntime") is None:
        return False
    if provider.plugin is not None:
        return importlib.util.find_spec(provider.plugin) is not None
    return provider.name in providers()


def tensorrt_mismatch() -> str | None:
    """Why ONNX Runtime's TensorRT provider cannot use the installed TensorRT; None: it can.

    Its library is linked to one major version of TensorRT (1.31: to libnvinfer.so.10), which the module `tensorrt`
    of that version loads.
    """
    library = Path(import_onnxruntime().__file__).parent / "capi" / "libonnxruntime_providers_tensorrt.so"
    found = re.search(rb"libnvinfer\.so\.(\d+)", library.read_bytes()) if library.exists() else None
    if found is None:  # a build of one's own, linked without it
        return None
    needed = found[1].decode()
    remedy = "docs/how-to/gpu.md lists which TensorRT each ONNX Runtime needs"
    if importlib.util.find_spec("tensorrt") is None:
        return f"ONNX Runtime's TensorRT provider needs TensorRT {needed}, and none is installed: {remedy}"
    try:
        version = str(importlib.import_module("tensorrt").__version__)
    except (ImportError, OSError, RuntimeError) as error:
        return f"TensorRT is installed but cannot be loaded ({error}): reinstall it"
    if version.partition(".")[0] != needed:
        return f"ONNX Runtime's TensorRT provider needs TensorRT {needed}, and {version} is installed: {remedy}"
    return None


@functools.cache
def load_libraries(module: str | None) -> None:
    """Loads CUDA's libraries from pip's packages, where no loader looks for them, and those that `module` brings.

    Once per process. ONNX Runtime's GPU providers are linked to CUDA and cuDNN; `import torch` would load them too.

    Raises:
        MachineError: the module cannot be imported.
    """
    with contextlib.redirect_stdout(sys.stderr):  # it prints what it does not find; results go to stdout
        import_onnxruntime().preload_dlls()
    if module is None:
        return
    try:
        importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        raise MachineError(f"{module} cannot be loaded ({error}): ONNX Runtime needs its libraries") from error


def loading_failure(provider: Provider, said: Sequence[str]) -> MachineError | None:
    """The error for a provider that cannot be loaded or started, from what ONNX Runtime said; None: it is none.

    Args:
        provider: the provider.
        said: the lines of its log, and the text of its exception if it raised one.
    """
    text = COLOUR.sub("", "\n".join(said))
    found = NOT_LOADED.search(text)
    if found is not None:
        return MachineError(
            f"ONNX Runtime cannot load its {provider.name} ({found[1].strip()}): expected the libraries of CUDA, cuDNN "
            "and the driver that it was built for; see docs/how-to/gpu.md"
        )
    found = CUDA_FAILED.search(text)
    if found is not None:
        return MachineError(
            f"ONNX Runtime cannot start its {provider.name} ({found[0].strip()}): look at the GPU and its driver with "
            "nvidia-smi; see docs/how-to/gpu.md"
        )
    return None


def plugin_devices(ort: Any, provider: Provider, plugin: str) -> list[Any]:
    """The devices of a plug-in, which is registered once per process."""
    if not any(device.ep_name == provider.name for device in ort.get_ep_devices()):
        library = importlib.import_module(plugin).get_library_path()
        try:
            # Its wheel brings libcudart under a file name that no loader looks for.
            for cudart in sorted(Path(library).parent.glob("libcudart.so.*")):
                ctypes.CDLL(str(cudart), ctypes.RTLD_GLOBAL)
            ort.register_execution_provider_library(provider.name, library)
        except Exception as error:  # its exceptions have no common class below Exception
            raise MachineError(f"{plugin} cannot be registered ({error}): it needs a GPU and its driver") from error
    devices = [device for device in ort.get_ep_devices() if device.ep_name == provider.name]
    if not devices:
        raise MachineError(f"{provider.name} finds no device that it can run on: it needs an RTX GPU")
    return devices
