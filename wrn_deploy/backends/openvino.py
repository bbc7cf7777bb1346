"""OpenVINO on a CPU: the fp32 graph, computed in fp32 or bf16, and the int8 graph for ONNX Runtime; no torch, no onnx.

Of the two int8 graphs this one is faster here too: see docs/explanation/candidates.md.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DamagedFile, DeployError, MachineError, how_to_install
from wrn_deploy.manifest import Artifact
from wrn_deploy.runtime.backend import Array, Backend
from wrn_deploy.spec import Precision, TensorSpec

__all__ = ["RUNTIMES"]

MAX_COMPILED = 4  # batch sizes compiled at the same time; each has its own copy of the weights
DEVICE = "CPU"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenVinoRuntime:
    """See `backend.Runtime`."""

    title: str = "OpenVINO CPU"
    comparison_only: bool = True
    precisions: tuple[Precision, ...] = (Precision.FP32, Precision.INT8, Precision.BF16)

    def find_artifact(self, bundle: Bundle, precision: Precision) -> Artifact:
        """The int8 graph; else the fp32 graph, which OpenVINO itself converts to bf16."""
        return bundle.find("onnx-int8-onnxruntime" if precision is Precision.INT8 else "onnx-fp32")

    def unfit(self, _artifact: Artifact | None) -> str | None:
        """Needs the package."""
        installed = importlib.util.find_spec("openvino") is not None
        return None if installed else f"OpenVINO is not installed: {how_to_install('openvino', 'openvino')}"

    def open_backend(
        self, bundle: Bundle, artifact: Artifact, *, precision: Precision, threads: int | None
    ) -> OpenVinoBackend:
        """Reads the graph; the first upload of each batch size compiles it."""
        core = _openvino().Core()
        if precision is Precision.BF16 and "BF16" not in core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES"):
            raise MachineError("this CPU cannot compute in bf16, as OpenVINO reports: run fp32 or int8")
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "bf16" if precision is Precision.BF16 else "f32",  # else it chooses
        }
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        graph = _Graph(core=core, model=bundle.file(artifact).read_bytes(), settings=settings)
        return OpenVinoBackend(graph, bundle.spec.input, bundle.spec.outputs)


def _openvino() -> Any:
    """The module without its telemetry: importing it sends an event unless `openvino_telemetry` cannot be imported."""
    silenced = "openvino" not in sys.modules and "openvino_telemetry" not in sys.modules
    if silenced:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("openvino")
    except (ImportError, OSError, RuntimeError) as error:
        raise MachineError(f"OpenVINO is installed but cannot be loaded ({error}): reinstall it") from error
    finally:
        if silenced:
            del sys.modules["openvino_telemetry"]


@dataclass(slots=True, kw_only=True)
class _Graph:
    """A graph, compiled for each batch size in use: a fixed size is faster than a dynamic one (measured)."""

    core: Any
    model: bytes
    settings: dict[str, Any]
    _compiled: OrderedDict[int, Any] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def new_request(self, source: TensorSpec, count: int) -> Any:
        """An inference request for a batch of `count`."""
        with self._lock:
            if count not in self._compiled:
                self._compiled[count] = self._compile(source, count)
                if len(self._compiled) > MAX_COMPILED:
                    self._compiled.popitem(last=False)  # freed with its last request
            self._compiled.move_to_end(count)
            return self._compiled[count].create_infer_request()

    def _compile(self, source: TensorSpec, count: int) -> Any:
        try:
            model = self.core.read_model(self.model)
            model.reshape({source.name: [count, *source.shape]})
            compiled = self.core.compile_model(model, DEVICE, self.settings)
        except Exception as error:  # its exceptions have no common class below Exception
            reason = str(error).strip().splitlines()[-1]
            raise DamagedFile(f"OpenVINO cannot compile the graph ({reason}): export the model again") from error
        got = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if got != self.settings["INFERENCE_PRECISION_HINT"]:
            raise MachineError(
                f"OpenVINO computes in {got} here: expected {self.settings['INFERENCE_PRECISION_HINT']}; "
                "run another precision"
            )
        return compiled


class OpenVinoBackend(Backend):
    """An inference request with its own buffers, for one batch size at a time; see `backend.Backend`."""

    def __init__(self, graph: _Graph, source: TensorSpec, results: tuple[TensorSpec, ...]) -> None:
        self.inputs, self.outputs = (source,), results
        self.batches = range(1, sys.maxsize)
        self._graph: _Graph | None = graph
        self._request: Any = None
        self._images: Array | None = None

    def upload(self, batch: Array) -> None:
        graph = self._open()
        if self._images is None or len(batch) != len(self._images):
            self._bind(graph, len(batch))
        else:
            self._request.wait()  # a running inference may still read it
        assert self._images is not None
        self._images[:] = batch

    def execute(self) -> None:
        self._open()
        if self._request is None:
            raise DeployError("there is no batch to run: upload one first")
        self._wait()
        self._request.start_async()

    def synchronize(self) -> None:
        self._open()
        self._wait()

    def elapsed_ms(self) -> float | None:
        self._open()
        return None

    def download(self) -> tuple[Array, ...]:
        self._open()
        self._wait()
        return tuple(np.array(self._request.get_tensor(output.name).data) for output in self.outputs)

    def sibling(self) -> Self:
        return type(self)(self._open(), self.inputs[0], self.outputs)

    def close(self) -> None:
        if self._request is not None:
            self._request.wait()
        self._graph = self._request = self._images = None

    def _bind(self, graph: _Graph, count: int) -> None:
        source = self.inputs[0]
        self._wait()
        self._request = self._images = None
        request = graph.new_request(source, count)
        images = np.empty((count, *source.shape), np.dtype(source.dtype))
        request.set_tensor(source.name, _openvino().Tensor(images, shared_memory=True))
        self._request, self._images = request, images

    def _wait(self) -> None:
        if self._request is None:
            return
        try:
            self._request.wait()
        except RuntimeError as error:
            raise DeployError(f"OpenVINO cannot run the graph ({error}): export the model again") from error

    def _open(self) -> _Graph:
        if self._graph is None:
            raise DeployError("this backend is closed: open it again")
        return self._graph


RUNTIMES = {"openvino": OpenVinoRuntime()}
