"""ONNX Runtime on a CPU or a GPU: a graph in a session of one provider, with bound buffers; no torch, no onnx."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, MachineError, StaleArtifact, how_to_install
from wrn_deploy.machine import find_gpu
from wrn_deploy.manifest import Artifact
from wrn_deploy.runtime.backend import Array, Backend
from wrn_deploy.runtime.providers import (
    CPU,
    CUDA,
    CUDA_GRAPHS,
    CUDA_NHWC,
    RTX,
    TENSORRT,
    Provider,
    has_provider,
    tensorrt_mismatch,
)
from wrn_deploy.runtime.sessions import open_session, session_errors
from wrn_deploy.spec import Precision, TensorSpec

__all__ = ["RUNTIMES", "OnnxRuntimeBackend", "SessionRuntime"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRuntime:
    """Graphs on one provider; see `backend.Runtime`.

    Args:
        title: the provider's display name.
        provider: the provider.
        graphs: precision -> key of the artifact it runs, its preferred precision first.
        extra: the extra of this project that installs the provider.
        comparison_only: as in `backend.Runtime`.
    """

    title: str
    provider: Provider
    graphs: dict[Precision, str]
    extra: str
    comparison_only: bool = False

    @property
    def package(self) -> str:
        """The package that the provider comes in, or that its own package needs."""
        return "onnxruntime-gpu" if self.extra == "gpu" else "onnxruntime"

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The precisions it has graphs for."""
        return tuple(self.graphs)

    def find_artifact(self, bundle: Bundle, precision: Precision) -> Artifact:
        """The graph written for this provider."""
        return bundle.find(self.graphs[precision])

    def unfit(self, _artifact: Artifact | None) -> str | None:
        """Why this machine cannot run it: package, provider, GPU, TensorRT, in this order."""
        if importlib.util.find_spec("onnxruntime") is None:
            return f"ONNX Runtime is not installed: {how_to_install(self.extra, self.package)}"
        if self.provider.device == "cpu":
            return None
        if not has_provider(self.provider):
            package = "onnxruntime-ep-nv-tensorrt-rtx" if self.extra == "ort-rtx" else self.package
            return f"ONNX Runtime has no {self.provider.name}: {how_to_install(self.extra, package)}"
        if find_gpu() is None:
            return "no CUDA GPU on this machine"
        return tensorrt_mismatch() if self.provider is TENSORRT else None

    def open_backend(
        self, bundle: Bundle, artifact: Artifact, *, precision: Precision, threads: int | None
    ) -> OnnxRuntimeBackend:
        """Loads the graph; a node on another provider is an error."""
        del precision  # the graph's own
        fuses = not artifact.key.endswith("-tensorrt")  # else ONNX Runtime rewrites biases before TensorRT gets them
        session = open_session(bundle.file(artifact), threads, self.provider, fuses_qdq=fuses)
        return OnnxRuntimeBackend(session, self.provider, bundle.spec.input, bundle.spec.outputs)


class OnnxRuntimeBackend(Backend):
    """A session with bound inputs and outputs on the provider's device; see `backend.Backend`.

    If the provider runs CUDA graphs, each batch size keeps its memory, which its graph reads and writes, and siblings
    take turns: ONNX Runtime captures and runs the graphs of a session in one thread at a time.
    """

    def __init__(
        self,
        session: Any,
        provider: Provider,
        source: TensorSpec,
        results: tuple[TensorSpec, ...],
        captures: _Captures | None = None,
    ) -> None:
        self.inputs, self.outputs = (source,), results
        self.batches = range(1, sys.maxsize)
        self._session, self._provider = session, provider
        self._captures = captures or (_Captures() if "enable_cuda_graph" in provider.options else None)
        self._turn = self._captures.lock if self._captures is not None else contextlib.nullcontext()
        self._bindings: dict[int, _Binding] = {}
        self._binding: _Binding | None = None

    def upload(self, batch: Array) -> None:
        """Takes the batch as the next input; as `Backend.upload`."""
        self._check_open()
        self._binding = None
        with self._turn:
            binding = self._binding_for(len(batch))
            binding.images.update_inplace(batch)
        self._binding = binding

    def execute(self) -> None:
        """Starts the inference; as `Backend.execute`."""
        self._check_open()
        if self._binding is None:
            raise DeployError("there is no batch to run: upload one first")
        try:
            with self._turn:
                self._session.run_with_iobinding(self._binding.bound, self._binding.options)
        except MemoryError as error:
            raise MachineError(
                f"not enough memory to run the graph ({error}): free some, or use smaller batches"
            ) from error
        except session_errors() as error:
            raise DeployError(f"ONNX Runtime cannot run the graph ({error}): export the model again") from error

    def synchronize(self) -> None:
        """ONNX Runtime waits for the device before `execute` returns."""
        self._check_open()

    def elapsed_ms(self) -> float | None:
        """ONNX Runtime has no device clock."""
        self._check_open()
        return None

    def download(self) -> tuple[Array, ...]:
        """The outputs of the last inference; as `Backend.download`."""
        self._check_open()
        with self._turn:
            return tuple(np.array(result.numpy()) for result in self._binding.results) if self._binding else ()

    def sibling(self) -> Self:
        """Another backend over the same weights; as `Backend.sibling`."""
        self._check_open()
        return type(self)(self._session, self._provider, self.inputs[0], self.outputs, self._captures)

    def close(self) -> None:
        """Releases what it holds; as `Backend.close`."""
        self._session = self._binding = None
        self._bindings = {}

    def _binding_for(self, count: int) -> _Binding:
        """Memory for a batch of `count` on the device; without graphs the last size's is freed."""
        if count in self._bindings:
            return self._bindings[count]
        if self._captures is None:
            self._bindings.clear()
        self._bindings[count] = self._bind(count)
        return self._bindings[count]

    def _bind(self, count: int) -> _Binding:
        import onnxruntime as ort

        def memory(tensor: TensorSpec) -> Any:
            shape, where = [count, *tensor.shape], (self._provider.device, 0, self._provider.vendor)
            try:
                return ort.OrtValue.ortvalue_from_shape_and_type(shape, np.dtype(tensor.dtype).type, *where)
            except session_errors() as error:
                raise MachineError(
                    f"not enough memory on {where[0]} for {tensor.name} {shape} ({error}): free some"
                ) from error

        images, results = memory(self.inputs[0]), [memory(tensor) for tensor in self.outputs]
        bound, options = self._session.io_binding(), None
        try:
            bound.bind_ortvalue_input(self.inputs[0].name, images)
            for tensor, result in zip(self.outputs, results, strict=True):
                bound.bind_ortvalue_output(tensor.name, result)
        except session_errors() as error:
            raise StaleArtifact(f"the graph is not the bundle's ({error}): export the model again") from error
        if self._captures is not None:
            options = ort.RunOptions()
            options.add_run_config_entry("gpu_graph_id", str(next(self._captures.numbers)))
        return _Binding(bound=bound, images=images, results=results, options=options)

    def _check_open(self) -> None:
        if self._session is None:
            raise DeployError("this backend is closed: open it again")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Binding:
    """A session's inputs and outputs for one batch size, and the options of its runs."""

    bound: Any
    images: Any
    results: list[Any]
    options: Any


@dataclass(frozen=True, slots=True)
class _Captures:
    """What the siblings of a session with CUDA graphs share: whose turn it is, and numbers for the graphs."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    numbers: Iterator[int] = field(default_factory=itertools.count)


ON_CPU = {Precision.FP32: "onnx-fp32", Precision.INT8: "onnx-int8-onnxruntime"}
ON_CUDA = {Precision.FP16: "onnx-fp16", Precision.FP32: "onnx-fp32"}
ON_TENSORRT = {Precision.FP16: "onnx-fp16", Precision.INT8: "onnx-int8-tensorrt"}

RUNTIMES = {
    "onnxruntime": SessionRuntime(title="ONNX Runtime CPU", provider=CPU, graphs=ON_CPU, extra="cpu"),
    "onnxruntime_cuda": SessionRuntime(title="ONNX Runtime CUDA", provider=CUDA, graphs=ON_CUDA, extra="gpu"),
    "onnxruntime_cuda_nhwc": SessionRuntime(
        title="ONNX Runtime CUDA channels-last",
        provider=CUDA_NHWC,
        graphs=ON_CUDA,
        extra="gpu",
        comparison_only=True,
    ),
    "onnxruntime_cuda_graphs": SessionRuntime(
        title="ONNX Runtime CUDA channels-last, as graphs",
        provider=CUDA_GRAPHS,
        graphs=ON_CUDA,
        extra="gpu",
        comparison_only=True,
    ),
    "onnxruntime_rtx": SessionRuntime(
        title="ONNX Runtime TensorRT-RTX", provider=RTX, graphs=ON_TENSORRT, extra="ort-rtx"
    ),
    "onnxruntime_tensorrt": SessionRuntime(
        title="ONNX Runtime TensorRT", provider=TENSORRT, graphs=ON_TENSORRT, extra="gpu"
    ),
}
