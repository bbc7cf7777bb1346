"""Runs a TensorRT plan of either flavour with PyCUDA's memory and streams; no torch, no onnx."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from wrn_deploy.bundle import Artifact, Bundle
from wrn_deploy.errors import DeployError, MachineError
from wrn_deploy.machine import Gpu, find_gpu
from wrn_deploy.spec import Precision, TensorSpec

__all__ = ["PlanBackend", "PlanRuntime", "plan_mismatch"]


def plan_mismatch(facts: Mapping[str, Any], version: str, gpu: Gpu | None) -> str | None:
    """Which field of a plan differs from this machine, or None where it fits.

    Args:
        facts: the plan artifact's facts: `flavor`, `version`, `compute_capability` (None: built without a GPU).
        version: the installed version of that flavour.
        gpu: this machine's GPU; the compute capability is compared where both sides have one.
    """
    differences = []
    if facts["version"] != version:
        differences.append(f"{facts['flavor']} {facts['version']}, here {version}")
    built_for = facts["compute_capability"]
    if built_for is not None and gpu is not None and built_for != gpu.compute_capability:
        differences.append(
            f"compute capability {built_for} ({facts['gpu']}), here {gpu.compute_capability} ({gpu.name})"
        )
    return f"the plan was built elsewhere: {'; '.join(differences)}; build it again here" if differences else None


class PlanRuntime:
    """What the two flavours' files offer to `runner.py`: plans of one flavour, opened with one Python module."""

    PRECISIONS = (Precision.FP16, Precision.INT8)

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
        gpu = find_gpu()
        mismatch = plan_mismatch(artifact.facts, _version(self._flavor), gpu) if artifact else None
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
        batches = artifact.facts["profile"]
        return PlanBackend(
            module, plan, (bundle.spec.input, bundle.spec.output), (batches["minimum"], batches["maximum"])
        )


class PlanBackend:
    """One engine, one execution context, one stream; see `runner.Backend`."""

    def __init__(
        self, module: Any, plan: bytes, tensors: tuple[TensorSpec, TensorSpec], batches: tuple[int, int]
    ) -> None:
        import pycuda.driver as cuda

        self.inputs, self.outputs = (tensors[0],), (tensors[1],)
        self._cuda, self._batches, self._size = cuda, batches, 0
        cuda.init()
        self._device_context = cuda.Device(0).retain_primary_context()  # shared with torch and ONNX Runtime
        with self._current():
            self._logger = module.Logger(module.Logger.ERROR)
            self._engine = module.Runtime(self._logger).deserialize_cuda_engine(plan)
            if self._engine is None:
                raise MachineError("the plan cannot be deserialized on this GPU: build it again here")
            self._context = self._engine.create_execution_context()
            self._stream = cuda.Stream()
            shapes = [(batches[1], *tensor.shape) for tensor in tensors]
            self._host = [cuda.pagelocked_empty(shape, np.float32) for shape in shapes]
            self._device = [cuda.mem_alloc(host.nbytes) for host in self._host]
            for tensor, memory in zip(tensors, self._device, strict=True):
                self._context.set_tensor_address(tensor.name, int(memory))

    def upload(self, batch: npt.NDArray[np.float32]) -> None:
        self._check_open()
        least, most = self._batches
        if not least <= len(batch) <= most:
            raise DeployError(
                f"a batch of {len(batch)} is outside the plan's profile ({least} to {most}): send smaller batches, or "
                f"build with --min-batch {min(least, len(batch))} --max-batch {max(most, len(batch))}"
            )
        with self._current():
            self._stream.synchronize()
            self._host[0][: len(batch)] = batch
            if len(batch) != self._size:
                self._context.set_input_shape(self.inputs[0].name, batch.shape)
                self._size = len(batch)
            self._cuda.memcpy_htod_async(self._device[0], self._host[0][: self._size], self._stream)

    def execute(self) -> None:
        self._check_open()
        with self._current():
            if not self._context.execute_async_v3(self._stream.handle):
                raise MachineError(
                    "TensorRT could not start the inference: see its message above; build the plan again"
                )

    def synchronize(self) -> None:
        with self._current():
            self._stream.synchronize()

    def download(self) -> npt.NDArray[np.float32]:
        with self._current():
            self._cuda.memcpy_dtoh_async(self._host[1][: self._size], self._device[1], self._stream)
            self._stream.synchronize()
        return np.array(self._host[1][: self._size])

    def close(self) -> None:
        if self._engine is None:
            return
        with self._current():
            self._stream.synchronize()
            for memory in self._device:
                memory.free()
            self._host, self._device = [], []
            self._context = self._engine = self._stream = None
        self._device_context.detach()

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
    def _current(self) -> Iterator[None]:
        """Makes the GPU's primary context current on this thread, and restores the caller's."""
        self._device_context.push()
        try:
            yield
        finally:
            self._cuda.Context.pop()


def _version(flavor: str) -> str:
    return str(importlib.import_module(flavor).__version__)
