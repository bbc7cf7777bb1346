"""Runs a TensorRT plan of either flavour with PyCUDA's memory and streams; no torch, no onnx."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np

from wrn_deploy.backend import Array
from wrn_deploy.backends._deserialize import deserialize_plan
from wrn_deploy.backends._validity import batches_of, plan_mismatch
from wrn_deploy.bundle import Artifact, Bundle
from wrn_deploy.errors import DeployError, MachineError
from wrn_deploy.machine import find_gpu
from wrn_deploy.spec import Precision, TensorSpec

__all__ = ["PlanBackend", "PlanRuntime"]


class PlanRuntime:
    """What the two flavours' files offer to `backend.py`: plans of one flavour, opened with one Python module."""

    PRECISIONS = (Precision.FP16, Precision.INT8, Precision.BF16, Precision.FP8)

    def __init__(self, flavor: str, title: str, extra: str) -> None:
        self._flavor = flavor
        self._title = title
        self._extra = extra

    def find_artifact(self, bundle: Bundle, precision: Precision) -> Artifact:
        """The plan of this flavour at this precision."""
        remedy = f"wrn-deploy build-engine {bundle.folder} --{precision} --flavor {self._flavor}"
        return bundle.find(f"plan-{precision}-{self._flavor}", remedy)

    def unfit(self, artifact: Artifact | None) -> str | None:
        """Why this machine cannot run the plan: package, version, GPU, in this order."""
        if importlib.util.find_spec(self._flavor) is None:
            return f"{self._title} is not installed: pip install 'wrn-deploy[{self._extra}]'"
        try:
            version = str(importlib.import_module(self._flavor).__version__)
        except (ImportError, OSError, RuntimeError) as error:
            return f"{self._title} is installed but cannot be loaded ({error}): install it again"
        gpu = find_gpu()
        if artifact is not None:
            remedy = f"wrn-deploy build-engine BUNDLE --{artifact.precision} --flavor {self._flavor} --rebuild"
            mismatch = plan_mismatch(artifact.facts, version, gpu, remedy, self._flavor)
            if mismatch is not None:
                return mismatch
        if gpu is None:
            return "no CUDA GPU on this machine"
        if importlib.util.find_spec("pycuda") is None:
            return "PyCUDA is not installed: pip install 'wrn-deploy[gpu]'"
        return None

    def open_backend(self, bundle: Bundle, artifact: Artifact, threads: int | None) -> PlanBackend:
        """Deserializes the plan on the first GPU, in its primary context."""
        del threads  # a plan runs on the GPU
        plan = bundle.file(artifact).read_bytes()
        module = importlib.import_module(self._flavor)
        tensors = (bundle.spec.input, bundle.spec.output)
        return PlanBackend(module, plan, tensors, batches_of(artifact.facts), artifact.facts)


class PlanBackend:
    """One engine, one execution context, one stream; see `backend.Backend`."""

    def __init__(
        self,
        module: Any,
        plan: bytes,
        tensors: tuple[TensorSpec, TensorSpec],
        batches: range,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.inputs, self.outputs, self.batches = (tensors[0],), (tensors[1],), batches
        self._size = 0
        with _on_gpu() as cuda:
            self._logger = module.Logger(module.Logger.ERROR)
            self._runtime = module.Runtime(self._logger)
            self._engine = deserialize_plan(module, self._runtime, plan, facts or {})
            self._context = self._engine.create_execution_context()
            if self._context is None:
                raise MachineError("TensorRT cannot make an execution context: free GPU memory, see its message above")
            self._stream = cuda.Stream()
            shapes = [(batches[-1], *tensor.shape) for tensor in tensors]
            self._host = [cuda.pagelocked_empty(shape, np.float32) for shape in shapes]
            self._device = [cuda.mem_alloc(host.nbytes) for host in self._host]
            for tensor, memory in zip(tensors, self._device, strict=True):
                if not self._context.set_tensor_address(tensor.name, int(memory)):
                    raise DeployError(f"the plan has no tensor {tensor.name}: build it again from this bundle")

    def upload(self, batch: Array) -> None:
        self._check_open()
        count, least, most = len(batch), self.batches[0], self.batches[-1]
        if count not in self.batches:
            raise DeployError(
                f"a batch of {count} is outside the plan's profile ({least} to {most}): send another number of images, "
                f"or build with --profile {min(least, count)}:{count}:{max(most, count)}"
            )
        with _on_gpu() as cuda:
            self._stream.synchronize()  # the last inference may still read the memory
            self._host[0][:count] = batch
            if count != self._size and not self._context.set_input_shape(self.inputs[0].name, batch.shape):
                raise DeployError(f"the plan does not take {batch.shape}: build it again from this bundle")
            self._size = count
            cuda.memcpy_htod_async(self._device[0], self._host[0][:count], self._stream)

    def execute(self) -> None:
        self._check_open()
        with _on_gpu():
            if not self._context.execute_async_v3(self._stream.handle):
                raise MachineError("TensorRT could not start the inference: see its message above")

    def synchronize(self) -> None:
        self._check_open()
        with _on_gpu():
            self._stream.synchronize()

    def download(self) -> tuple[Array, ...]:
        self._check_open()
        with _on_gpu() as cuda:
            cuda.memcpy_dtoh_async(self._host[1][: self._size], self._device[1], self._stream)
            self._stream.synchronize()
        return (np.array(self._host[1][: self._size]),)

    def close(self) -> None:
        if self._engine is None:
            return
        with _on_gpu() as cuda:
            with contextlib.suppress(cuda.Error):  # a GPU that has failed cannot be waited for
                self._stream.synchronize()
            self._context = self._engine = self._runtime = None  # in this order, and before the memory they use
            for memory in self._device:
                memory.free()
            self._host, self._device, self._stream = [], [], None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._engine is None:
            raise DeployError("this backend is closed: open it again")


@contextlib.contextmanager
def _on_gpu() -> Iterator[Any]:
    """Makes the GPU's primary context current on this thread, then the caller's again; gives PyCUDA's driver module.

    Raises:
        MachineError: CUDA cannot be used, or has failed in the block.
    """
    cuda, context = _primary_context()
    try:
        context.push()
        try:
            yield cuda
        finally:
            cuda.Context.pop()
    except cuda.Error as error:
        raise MachineError(f"CUDA failed ({error}): free GPU memory, or look at the GPU with nvidia-smi") from error


@functools.cache
def _primary_context() -> tuple[Any, Any]:
    """PyCUDA's driver module, and the first GPU's primary context, which torch and ONNX Runtime use too.

    It is held until the process ends, as `pycuda.autoprimaryctx` does. PyCUDA's `detach` makes it current and CUDA's
    release does not undo that; and the last release destroys what libraries keep in it.
    """
    try:
        import pycuda.driver as cuda
    except ImportError as error:
        raise MachineError(f"PyCUDA cannot be loaded ({error}): install it again, for this CUDA") from error
    try:
        cuda.init()
        return cuda, cuda.Device(0).retain_primary_context()
    except cuda.Error as error:
        raise MachineError(f"CUDA cannot be used ({error}): look at the GPU and its driver with nvidia-smi") from error
