"""ONNX Runtime on a CPU or a GPU: a graph in a session of one provider, with bound buffers; no torch, no onnx."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, MachineError, StaleArtifact, how_to_install
from wrn_deploy.machine import find_gpu
from wrn_deploy.manifest import Artifact
from wrn_deploy.runtime.backend import Array, Backend
from wrn_deploy.runtime.sessions import CPU, CUDA, RTX, TENSORRT, Provider, has_provider, open_session, session_errors
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
        """Why this machine cannot run it: package, provider, GPU, in this order."""
        if importlib.util.find_spec("onnxruntime") is None:
            return f"ONNX Runtime is not installed: {how_to_install(self.extra, self.package)}"
        if self.provider.device == "cpu":
            return None
        if not has_provider(self.provider):
            package = "onnxruntime-ep-nv-tensorrt-rtx" if self.extra == "ort-rtx" else self.package
            return f"ONNX Runtime has no {self.provider.name}: {how_to_install(self.extra, package)}"
        return None if find_gpu() is not None else "no CUDA GPU on this machine"

    def open_backend(
        self, bundle: Bundle, artifact: Artifact, *, precision: Precision, threads: int | None
    ) -> OnnxRuntimeBackend:
        """Loads the graph; a node on another provider is an error."""
        del precision  # the graph's own
        fuses = not artifact.key.endswith("-tensorrt")  # else ONNX Runtime rewrites biases before TensorRT gets them
        session = open_session(bundle.file(artifact), threads, self.provider, fuses_qdq=fuses)
        return OnnxRuntimeBackend(session, self.provider, bundle.spec.input, bundle.spec.outputs)


class OnnxRuntimeBackend(Backend):
    """A session with bound inputs and outputs on the provider's device; see `backend.Backend`."""

    def __init__(self, session: Any, provider: Provider, source: TensorSpec, results: tuple[TensorSpec, ...]) -> None:
        self.inputs, self.outputs = (source,), results
        self.batches = range(1, sys.maxsize)
        self._session, self._provider = session, provider
        self._binding = session.io_binding()
        self._images: Any = None
        self._results: list[Any] = []
        self._size = 0

    def upload(self, batch: Array) -> None:
        """Takes the batch as the next input; as `Backend.upload`."""
        self._check_open()
        if len(batch) != self._size:
            self._bind(len(batch))
        self._images.update_inplace(batch)

    def execute(self) -> None:
        """Starts the inference; as `Backend.execute`."""
        self._check_open()
        try:
            self._session.run_with_iobinding(self._binding)
        except MemoryError as error:
            raise MachineError(f"no memory to run the graph ({error}): free some, or send smaller batches") from error
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
        return tuple(np.array(result.numpy()) for result in self._results)

    def sibling(self) -> Self:
        """Another backend over the same weights; as `Backend.sibling`."""
        self._check_open()
        return type(self)(self._session, self._provider, self.inputs[0], self.outputs)

    def close(self) -> None:
        """Releases what it holds; as `Backend.close`."""
        self._session = self._binding = self._images = None
        self._results = []

    def _bind(self, count: int) -> None:
        """Allocates memory for a batch of `count` on the device; frees the last batch's."""
        import onnxruntime as ort

        def memory(tensor: TensorSpec) -> Any:
            shape, where = [count, *tensor.shape], (self._provider.device, 0, self._provider.vendor)
            try:
                return ort.OrtValue.ortvalue_from_shape_and_type(shape, np.dtype(tensor.dtype).type, *where)
            except session_errors() as error:
                raise MachineError(f"no memory on {where[0]} for {tensor.name} {shape} ({error}): free some") from error

        self._size = 0
        self._images, self._results = memory(self.inputs[0]), [memory(tensor) for tensor in self.outputs]
        try:
            self._binding.bind_ortvalue_input(self.inputs[0].name, self._images)
            for tensor, result in zip(self.outputs, self._results, strict=True):
                self._binding.bind_ortvalue_output(tensor.name, result)
        except session_errors() as error:
            raise StaleArtifact(f"the graph is not the bundle's ({error}): export the model again") from error
        self._size = count

    def _check_open(self) -> None:
        if self._session is None:
            raise DeployError("this backend is closed: open it again")


CPU_GRAPHS = {Precision.FP32: "onnx-fp32", Precision.INT8: "onnx-int8-onnxruntime"}
CUDA_GRAPHS = {Precision.FP16: "onnx-fp16", Precision.FP32: "onnx-fp32"}
TENSORRT_GRAPHS = {Precision.FP16: "onnx-fp16", Precision.INT8: "onnx-int8-tensorrt"}

RUNTIMES = {
    "onnxruntime": SessionRuntime(title="ONNX Runtime CPU", provider=CPU, graphs=CPU_GRAPHS, extra="cpu"),
    "onnxruntime_cuda": SessionRuntime(title="ONNX Runtime CUDA", provider=CUDA, graphs=CUDA_GRAPHS, extra="gpu"),
    "onnxruntime_rtx": SessionRuntime(
        title="ONNX Runtime TensorRT-RTX", provider=RTX, graphs=TENSORRT_GRAPHS, extra="ort-rtx"
    ),
    "onnxruntime_tensorrt": SessionRuntime(
        title="ONNX Runtime TensorRT", provider=TENSORRT, graphs=TENSORRT_GRAPHS, extra="gpu"
    ),
}
