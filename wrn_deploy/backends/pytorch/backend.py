"""Runs the network in PyTorch, eager or compiled, on a CPU or a GPU; imports torch when it opens one."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, MachineError, MissingArtifact, how_to_install
from wrn_deploy.machine import find_gpu
from wrn_deploy.manifest import Artifact
from wrn_deploy.runtime.backend import Array, Backend
from wrn_deploy.spec import IMPORTED, ModelSpec, Precision, TensorSpec

if TYPE_CHECKING:
    from wrn_deploy.backends.pytorch.device import TorchDevice

__all__ = ["TorchBackend", "TorchRuntime"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchRuntime:
    """One variant on one device; see `backend.Runtime`.

    Args:
        title: the variant's display name.
        precisions: of weights and activations, the preferred one first.
        device: "cpu" or "cuda".
        channels_last: the memory layout of images and weights.
        compiled: whether torch.compile compiles the network.
        graphs: whether inferences on a GPU run as CUDA graphs.
        comparison_only: as in `backend.Runtime`.
    """

    title: str
    precisions: tuple[Precision, ...]
    device: str = "cpu"
    channels_last: bool = False
    compiled: bool = False
    graphs: bool = False
    comparison_only: bool = False

    def find_artifact(self, bundle: Bundle, precision: Precision) -> Artifact:
        """The fp32 weights, rounded to another precision when they are opened."""
        del precision  # one artifact for all
        if bundle.spec.family == IMPORTED:
            raise MissingArtifact(
                f"{bundle.folder} was imported from ONNX and has no weights for PyTorch: run its graphs with another "
                "backend"
            )
        return bundle.find("weights")

    def unfit(self, _artifact: Artifact | None) -> str | None:
        """Why this machine cannot run it: packages, GPU, compiler, in this order."""
        for package in ("torch", "safetensors"):
            if importlib.util.find_spec(package) is None:
                return f"{package} is not installed: {how_to_install('export', package)}"
        if self.device == "cuda":
            if find_gpu() is None:
                return "no CUDA GPU on this machine"
            import torch

            if not torch.cuda.is_available():
                return f"the installed torch {torch.__version__} cannot use this GPU: install one with CUDA"
        return _compiler_lacking(self.device) if self.compiled else None

    def open_backend(
        self, bundle: Bundle, artifact: Artifact, *, precision: Precision, threads: int | None
    ) -> TorchBackend:
        """Builds the network, loads the weights into it, and moves it to the device."""
        import torch

        from wrn_deploy.backends.pytorch.device import CpuDevice, CudaDevice
        from wrn_deploy.backends.pytorch.network import load_network

        if threads is not None:
            torch.set_num_threads(threads)
        network: Any = load_network(bundle, artifact, precision, self.device, channels_last=self.channels_last)
        shared = _Compiled(network=network, frozen=self.device == "cpu") if self.compiled else network
        on_gpu = functools.partial(CudaDevice, graphs=self.graphs)
        return TorchBackend(shared, bundle.spec, on_gpu if self.device == "cuda" else CpuDevice)


class TorchBackend(Backend):
    """A network in inference mode with the interface of the bundle's graphs; see `backend.Backend`.

    Args:
        network: images -> the outputs of `spec`, in that order; siblings share it.
        spec: the bundle's.
        device: makes a sibling's own part of the device.
    """

    def __init__(self, network: Any, spec: ModelSpec, device: Callable[[], TorchDevice]) -> None:
        self.inputs: tuple[TensorSpec, ...] = (spec.input,)
        self.outputs = spec.outputs
        self.batches = range(1, sys.maxsize)
        self._network, self._spec, self._new_device = network, spec, device
        self._device = device()
        self._images: Any = None
        self._results: tuple[Any, ...] = ()

    def upload(self, batch: Array) -> None:
        """Takes the batch as the next input; as `Backend.upload`."""
        self._check_open()
        self._images = self._device.upload(batch)

    def execute(self) -> None:
        """Starts the inference; as `Backend.execute`."""
        self._check_open()
        if self._images is None:
            raise DeployError("there is no batch to run: upload one first")
        self._results = self._device.run(self._network, self._images)

    def synchronize(self) -> None:
        """Waits for the GPU; a CPU is done when `execute` returns."""
        self._check_open()
        self._device.synchronize()

    def elapsed_ms(self) -> float | None:
        """The device's time of the last inference; as `Backend.elapsed_ms`."""
        self._check_open()
        return self._device.elapsed_ms()

    def download(self) -> tuple[Array, ...]:
        """The outputs of the last inference; as `Backend.download`."""
        self._check_open()
        return self._device.download(self._results)

    def sibling(self) -> Self:
        """Another backend over the same weights; as `Backend.sibling`."""
        self._check_open()
        return type(self)(self._network, self._spec, self._new_device)

    def close(self) -> None:
        """Releases what it holds; as `Backend.close`."""
        if self._network is None:
            return
        self._network = self._images = None
        self._results = ()
        self._device.close()

    def _check_open(self) -> None:
        if self._network is None:
            raise DeployError("this backend is closed: open it again")


@dataclass(slots=True, kw_only=True)
class _Compiled:
    """A network, compiled at the first inference of each batch size and number of threads.

    A part that cannot be compiled is an error: no graph break, no fallback to eager.

    Args:
        network: the module.
        frozen: whether weights become constants in the layout of the kernels (torch's documentation, "freezing");
            faster on a CPU, but each size then has its own copy.
    """

    network: Any
    frozen: bool
    _compiled: Any = None
    _cases: set[tuple[int, int]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, images: Any) -> tuple[Any, ...]:
        import torch

        case = len(images), torch.get_num_threads()
        if case not in self._cases:
            self._compile(images, case)
        results: tuple[Any, ...] = self._compiled(images)
        return results

    def _compile(self, images: Any, case: tuple[int, int]) -> None:
        import torch

        # The limits guard against repeated compilation by mistake; here every size is intended.
        limits: dict[str, Any] = {"recompile_limit": sys.maxsize, "accumulated_recompile_limit": sys.maxsize}
        with self._lock, torch._dynamo.config.patch(suppress_errors=False, **limits):  # noqa: SLF001 (its own name)
            if self._compiled is None:
                self._compiled = torch.compile(
                    self.network, fullgraph=True, dynamic=False, options={"freezing": self.frozen}
                )
            try:
                self._compiled(images)
            except Exception as error:  # dynamo, inductor and compilers raise no common class
                cause = getattr(error, "inner_exception", error)
                reason = (str(cause).strip().splitlines() or [""])[0]
                raise MachineError(
                    f"torch.compile cannot compile the network ({type(cause).__name__}: {reason}): "
                    "check its compiler, or run PyTorch without it"
                ) from error
            self._cases.add(case)


def _compiler_lacking(device: str) -> str | None:
    """What torch.compile lacks here: a C++ compiler for a CPU; Triton and a C compiler for a GPU."""
    if device == "cuda" and importlib.util.find_spec("triton") is None:
        return "Triton is not installed: torch.compile needs it on a GPU; install torch with CUDA again"
    wanted = os.environ.get("CC", "gcc") if device == "cuda" else os.environ.get("CXX", "g++")
    if shutil.which(wanted) is None:
        return f"there is no compiler {wanted}: torch.compile needs it; install one, or name another in CC and CXX"
    return None
