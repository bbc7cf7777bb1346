"""Opens a TensorRT plan of either flavour and runs it as a backend; no torch, no onnx."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Self

from wrn_deploy.backends.plan.cuda import call, cuda_runtime
from wrn_deploy.backends.plan.engine import Expected, SharedEngine
from wrn_deploy.backends.plan.execution import AHEAD, Execution, Staged
from wrn_deploy.backends.plan.runtime_cache import cache_file
from wrn_deploy.backends.plan.validity import input_of, lean_obstacle, plan_mismatch
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, MachineError, how_to_install
from wrn_deploy.machine import find_gpu
from wrn_deploy.manifest import Artifact
from wrn_deploy.runtime.backend import Array, DeviceBackend
from wrn_deploy.runtime.device_array import LEGACY_STREAM, DeviceArray
from wrn_deploy.runtime.gpu import on_gpu
from wrn_deploy.spec import Precision, TensorSpec

__all__ = ["PlanBackend", "PlanRuntime"]

LEAN = "tensorrt_lean"  # the Python module that opens version-compatible plans where full TensorRT is not installed
ALIGNMENT = 256  # bytes; TensorRT's documentation, IExecutionContext::setTensorAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRuntime:
    """Plans of one flavour, opened with one Python module; see `backend.Runtime`.

    Args:
        flavor: the module's name; TensorRT's lean runtime stands in for full TensorRT.
        title: the library's display name.
        extra: the extra of this project that installs it.
        graphs: whether inferences run as CUDA graphs.
        comparison_only: as in `backend.Runtime`.
    """

    flavor: str
    title: str
    extra: str
    graphs: bool = True
    comparison_only: bool = False
    precisions: tuple[Precision, ...] = (Precision.FP16, Precision.INT8, Precision.BF16, Precision.FP8)

    def find_artifact(self, bundle: Bundle, precision: Precision) -> Artifact:
        """The plan of this flavour at this precision."""
        return bundle.find(f"plan-{precision}-{self.flavor}")

    def unfit(self, artifact: Artifact | None) -> str | None:
        """Why this machine cannot run the plan: package, version, GPU, in this order."""
        library, facts = self._library(), artifact.facts if artifact is not None else {}
        if library is None:
            package = self.flavor.replace("_", "-")
            other = f", or {how_to_install('lean')} for its lean runtime" if facts.get("version_compatible") else ""
            return f"{package} is not installed: {how_to_install(self.extra, package)}{other}"
        try:
            version = str(importlib.import_module(library).__version__)
        except (ImportError, OSError, RuntimeError) as error:
            return f"{self.title} is installed but cannot be loaded ({error}): reinstall it"
        gpu, lean = find_gpu(), library == LEAN
        if artifact is not None:
            remedy = f"wrn-deploy build-engine BUNDLE --{artifact.precision} --flavor {self.flavor} --rebuild"
            mismatch = plan_mismatch(facts, version, gpu, remedy=remedy, flavor=self.flavor, lean=lean)
            if mismatch is not None:
                return mismatch
        if gpu is None:
            return "no CUDA GPU on this machine"
        missing = None
        if importlib.util.find_spec("pycuda") is None:
            missing = f"PyCUDA is not installed: {how_to_install('cuda', 'pycuda')}"
        return (lean_obstacle(gpu) if lean else None) or missing

    def _library(self) -> str | None:
        """The installed Python module that opens its plans; the lean runtime only without full TensorRT."""
        names = (self.flavor, LEAN) if self.flavor == "tensorrt" else (self.flavor,)
        return next((name for name in names if importlib.util.find_spec(name) is not None), None)

    def open_backend(
        self, bundle: Bundle, artifact: Artifact, *, precision: Precision, threads: int | None
    ) -> PlanBackend:
        """Deserializes the plan on the first GPU, in its primary context."""
        del precision, threads  # the plan has its own precision, and runs on the GPU
        plan = bundle.file(artifact).read_bytes()
        module = importlib.import_module(self._library() or self.flavor)
        expected = Expected(
            source=input_of(artifact.facts),
            results=bundle.spec.outputs,
            facts=artifact.facts,
            host_code=bundle.trust.host_code,
            cache=cache_file(artifact.sha256, find_gpu()),
        )
        with on_gpu():
            engine = SharedEngine(module, plan, expected)
        return PlanBackend(engine, graphs=self.graphs)


class PlanBackend(DeviceBackend):
    """An engine with its own stream, buffers and execution contexts; see `backend.DeviceBackend`.

    Args:
        engine: deserialized in the GPU's context.
        graphs: whether inferences run as CUDA graphs if cuda-bindings is installed; see `graphs_obstacle`.
    """

    def __init__(self, engine: SharedEngine, *, graphs: bool = True) -> None:
        self.inputs, self.outputs, self.batches = engine.inputs, engine.outputs, engine.batches
        self._engine = engine.hold()
        self._graphs = graphs
        try:
            if graphs and engine.graphs_obstacle is None and not engine.captures_itself:
                engine.graphs_obstacle = _graphs_obstacle()
            with on_gpu() as cuda:
                self._execution = Execution(cuda, engine, graphs=graphs)
        except BaseException:
            with contextlib.suppress(MachineError), on_gpu():
                engine.release()
            raise
        # Also if nobody closes it, and before the interpreter ends: CUDA's libraries may be gone afterwards.
        self._free = weakref.finalize(self, _free, self._execution, engine, os.getpid())

    @property
    def uses_graphs(self) -> bool:
        """Whether uploaded batches run as CUDA graphs, from the third inference of a size on."""
        return self._execution.uses_graphs

    @property
    def graphs_obstacle(self) -> str | None:
        """Why CUDA graphs do not run; None if they do."""
        return self._engine.graphs_obstacle if self._graphs else "CUDA graphs were not requested"

    @property
    def stream(self) -> int:
        """CUDA handle of the stream that runs uploaded batches, for the caller's events."""
        self._check_open()
        return self._execution.stream

    def upload(self, batch: Array) -> None:
        """Takes the batch as the next input; as `Backend.upload`."""
        with self._open():
            self._execution.upload(batch)

    def execute(self) -> None:
        """Starts the inference; as `Backend.execute`."""
        with self._open():
            self._execution.execute()

    def synchronize(self) -> None:
        """Waits for the inference; as `Backend.synchronize`."""
        with self._open():
            self._execution.synchronize()

    def elapsed_ms(self) -> float | None:
        """The device's time of the last inference; as `Backend.elapsed_ms`."""
        with self._open():
            return self._execution.elapsed_ms()

    def download(self) -> tuple[Array, ...]:
        """The outputs of the last inference; as `Backend.download`."""
        with self._open():
            return self._execution.download()

    def infer(self, batch: Array) -> tuple[Array, ...]:
        """Runs one batch, with a single wait; as `Backend.infer`."""
        with self._open():
            self._execution.upload(batch)
            self._execution.execute()
            return self._execution.download()

    def infer_each(self, batches: Iterable[Array]) -> Iterator[tuple[Array, ...]]:
        """Runs batches with their copies beside the inferences; as `Backend.infer_each`."""
        flying: deque[Staged] = deque()
        ended = False
        with self._open():
            self._execution.start_series()
        try:
            for turn, batch in enumerate(batches):
                with self._open():
                    staged = self._execution.stage(batch, turn)
                    done = self._execution.collect(flying.popleft()) if len(flying) == AHEAD else None
                    self._execution.run_staged(staged)
                flying.append(staged)
                if done is not None:
                    yield done
            while flying:
                with self._open():
                    done = self._execution.collect(flying.popleft())
                yield done
            ended = True
        finally:
            if not ended and self._free.alive:
                self.synchronize()  # the buffers are free again

    def slot(self, count: int) -> AbstractContextManager[Array]:
        """Lends pinned memory; as `Backend.slot`."""
        self._check_open()
        return self._engine.pinned.lend(count)

    def check_device_arrays(self, images: DeviceArray, outputs: tuple[DeviceArray, ...]) -> None:
        """Refuses arrays that the plan cannot take; as `DeviceBackend.check_device_arrays`."""
        _check_array(images, self.inputs[0])
        for array, tensor in zip(outputs, self.outputs, strict=False):
            _check_array(array, tensor, images.shape[0], written=True)
        self._engine.profile_for(images.shape[0])

    def infer_on_device(self, images: DeviceArray, outputs: tuple[DeviceArray, ...], stream: int) -> None:
        """Starts an inference on the caller's stream, without copies; as `DeviceBackend.infer_on_device`."""
        self.check_device_arrays(images, outputs)
        arrays = (images, *outputs)
        with self._open():
            for array, tensor in zip(arrays, (*self.inputs, *self.outputs), strict=False):
                _check_memory(array, tensor)
            waited = {stream or LEGACY_STREAM, None}  # both 0 and 1 are the default stream
            producers = [each for each in {array.stream for array in arrays} - waited if each is not None]
            self._execution.infer_on(stream, [array.address for array in arrays], images.shape[0], producers)

    def sibling(self) -> Self:
        """Another backend over the same weights; as `Backend.sibling`."""
        self._check_open()
        return type(self)(self._engine, graphs=self._graphs)

    def close(self) -> None:
        """Releases what it holds; as `Backend.close`."""
        self._free()

    def _open(self) -> contextlib.AbstractContextManager[object]:
        self._check_open()
        return on_gpu()

    def _check_open(self) -> None:
        if not self._free.alive:
            raise DeployError("this backend is closed: open it again")


def _check_array(array: DeviceArray, tensor: TensorSpec, count: int | None = None, *, written: bool = False) -> None:
    """Raises DeployError unless the array is a batch of a tensor (of `count` images if given) on the first GPU."""
    if array.device not in ("cuda", "cuda_managed") or array.ordinal not in (None, 0):
        where = array.device if array.ordinal is None else f"{array.device} {array.ordinal}"
        raise DeployError(f"the array for {tensor.name} is on {where}: expected the first CUDA GPU (cuda 0)")
    whole = array.shape[1:] == tensor.shape and (array.shape[0] if count is None else array.shape[0] == count)
    if array.dtype != tensor.dtype or len(array.shape) != 1 + len(tensor.shape) or not whole:
        shape = ", ".join(map(str, ("N" if count is None else count, *tensor.shape)))
        raise DeployError(
            f"the device array for {tensor.name} is {array.dtype} {array.shape}: expected {tensor.dtype} ({shape})"
            f"{', N at least 1' if count is None else ''}"
        )
    if not array.contiguous:
        raise DeployError(
            f"the device array for {tensor.name} has strides {array.strides}: expected C order without gaps; copy it"
        )
    if array.address % ALIGNMENT:
        raise DeployError(
            f"the device array for {tensor.name} starts at {array.address:#x}: expected a multiple of {ALIGNMENT}; "
            "copy it, or send at most the plan's largest batch"
        )
    if written and array.read_only:
        raise DeployError(f"the device array for {tensor.name} is read-only: expected a writable one")


def _check_memory(array: DeviceArray, tensor: TensorSpec) -> None:
    """Raises DeployError unless CUDA, whose context is current, knows the address as memory of the first GPU.

    No process recovers from the CUDA error of using an invalid address.
    """
    kinds = cuda_runtime().cudaMemoryType
    known = call("cudaPointerGetAttributes", array.address)
    if known.type not in (kinds.cudaMemoryTypeDevice, kinds.cudaMemoryTypeManaged) or known.device != 0:
        raise DeployError(
            f"the array for {tensor.name} at {array.address:#x} is {known.type.name}, device {known.device}: "
            "expected memory of the first CUDA GPU"
        )


def _graphs_obstacle() -> str | None:
    try:
        cuda_runtime()
    except MachineError as error:
        return str(error)
    return None


def _free(execution: Execution, engine: SharedEngine, process: int) -> None:
    """Frees the contexts, then the engine if no one else holds it; after a CUDA failure there is nothing to free.

    In a child of `process`, which made them, it frees nothing: CUDA does not work after a fork.
    """
    if os.getpid() != process:
        return
    with contextlib.suppress(MachineError), on_gpu():
        execution.close()
        engine.release()
