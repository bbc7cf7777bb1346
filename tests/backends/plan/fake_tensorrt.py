"""A TensorRT for the GPU of `fake_gpu.py`: it runs the plan b"plan" and keeps the rules of execution contexts."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.backends.plan.fake_gpu import FakeDriver, FakeStream, Job

__all__ = ["IMAGE_MS", "FakeTensorRT", "Tensor", "answer_to"]

Array = npt.NDArray[Any]
IMAGE_MS = 0.25  # what the GPU takes for an image
DTYPES = {"FLOAT": "float32", "UINT8": "uint8", "INT64": "int64", "HALF": "float16"}


def answer_to(images: Array, classes: int) -> npt.NDArray[np.float32]:
    """The logits that the fake engine gives: sums over slices of each image."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    return np.stack([flat[:, index::classes].sum(axis=1) for index in range(classes)], axis=1)


@dataclass(frozen=True)
class Tensor:
    """A tensor of the fake network; `compute` makes an output from the input."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    compute: Callable[[Array], Array] | None = None


class Mode(enum.Enum):
    INPUT = 0
    OUTPUT = 1


class FakeTensorRT:
    """Stands for the module `tensorrt`: the plan b"plan" is a network images (N, 3, 4, 4) -> logits (N, 5).

    `profiles` and `tensors` may be changed before a plan is opened; `rtx` gives it what TensorRT-RTX has besides.
    `started` counts inferences that were started one by one; `refuses_capture` makes those fail that are captured.
    `activations` is the memory that a context needs, which the caller gives it.
    """

    def __init__(self, driver: FakeDriver, *, rtx: bool = False) -> None:
        trt = self
        self.driver = driver
        self.context_fails = self.refuses_capture = False
        self.activations = 1000
        self.order: dict[int, list[Job]] = {}  # work that uses a block of activation memory, by its address
        self.contexts = 0  # alive
        self.compiled = 0  # shapes for which TensorRT-RTX had to compile kernels
        self.profiles = [(1, 3, 6)]
        self.tensors = [
            Tensor("images", "FLOAT", (3, 4, 4)),
            Tensor("logits", "FLOAT", (5,), lambda images: answer_to(images, 5)),
        ]
        self.configs: list[Any] = []
        self.started = 0

        class Logger:
            ERROR = "ERROR"

            def __init__(self, severity: str) -> None:
                assert severity == "ERROR"

        class Runtime:
            def __init__(self, logger: Logger) -> None:
                assert isinstance(logger, Logger)

            def deserialize_cuda_engine(self, plan: bytes) -> Any:
                driver.check_current()
                return _Engine(trt) if plan == b"plan" else None

            def __del__(self) -> None:
                driver.log.append("runtime gone")

        self.Logger, self.Runtime, self.TensorIOMode = Logger, Runtime, Mode
        self.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user managed")
        if rtx:
            self.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager")
            self.CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole", DISABLED="disabled")


class _Engine:
    def __init__(self, trt: FakeTensorRT) -> None:
        self.trt = trt
        self.tensors = {tensor.name: tensor for tensor in trt.tensors}
        self.num_io_tensors, self.num_optimization_profiles = len(trt.tensors), len(trt.profiles)
        self.device_memory_size_v2 = trt.activations

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> Mode:
        return Mode.OUTPUT if self.tensors[name].compute else Mode.INPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name=self.tensors[name].dtype)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, *self.tensors[name].shape)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [(batch, *self.tensors[name].shape) for batch in self.trt.profiles[profile]]

    def create_runtime_config(self) -> Any:
        self.trt.configs.append(RuntimeConfig())
        return self.trt.configs[-1]

    def create_execution_context(self, given: Any) -> Any:
        self.trt.driver.check_current()
        self.trt.driver.check_capture()
        rtx = hasattr(self.trt, "CudaGraphStrategy")
        assert (given.allocation if rtx else given) == "user managed", "TensorRT would allocate activations for each"
        if self.trt.context_fails:
            return None
        return _RtxContext(self, given) if rtx else _Context(self)

    def __del__(self) -> None:
        self.trt.driver.log.append("engine gone")


class RuntimeCache:
    """The shapes whose kernels were compiled."""

    magic = b"compiled for this GPU:"

    def __init__(self) -> None:
        self.shapes: set[str] = set()

    def deserialize(self, content: bytes) -> bool:
        if not content.startswith(self.magic):
            return False
        self.shapes = set(content.removeprefix(self.magic).decode().split(";"))
        return True

    def serialize(self) -> memoryview:
        return memoryview(self.magic + ";".join(sorted(self.shapes)).encode())


class RuntimeConfig:
    """TensorRT-RTX's settings of a context."""

    def __init__(self) -> None:
        self.allocation = "static"
        self.dynamic_shapes_kernel_specialization_strategy = "lazy"
        self.cuda_graph_strategy = "disabled"
        self.cache: RuntimeCache | None = None

    def create_runtime_cache(self) -> RuntimeCache:
        return RuntimeCache()

    def set_runtime_cache(self, cache: RuntimeCache) -> bool:
        self.cache = cache
        return True

    def set_execution_context_allocation_strategy(self, strategy: str) -> None:
        self.allocation = strategy


class _Context:
    """An execution context: work that uses the same activation memory must run in the order in which it was started.

    A captured one must not change.
    """

    def __init__(self, engine: _Engine) -> None:
        self.engine, self.driver = engine, engine.trt.driver
        engine.trt.contexts += 1
        self.shape: tuple[int, ...] | None = None
        self.ran = self.captured = False  # since the shape was set
        self.addresses: dict[str, int] = {}
        self.profile: int | None = None
        self.activations: int | None = None

    @property
    def order(self) -> list[Job]:
        return self.engine.trt.order.setdefault(self.activations or id(self), [])

    def set_optimization_profile_async(self, profile: int, handle: int) -> bool:
        self.driver.check_current()
        self.profile, self.shape = profile, None
        self.driver.stream_of(handle)
        return 0 <= profile < len(self.engine.trt.profiles)

    def set_device_memory(self, address: int, size: int) -> None:
        assert address % 256 == 0
        assert size >= self.engine.trt.activations
        assert len(self.driver.at(address)) >= size
        self.activations = address

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert not self.captured, "its graph would no longer be valid"
        tensor = self.engine.tensors.get(name)
        if tensor is None or tensor.compute or tuple(shape[1:]) != tensor.shape or self.profile is None:
            return False
        least, _, most = self.engine.trt.profiles[self.profile]
        assert least <= shape[0] <= most, "outside of the profile"
        self.shape, self.ran = tuple(shape), False
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert not self.captured, "its graph would no longer be valid"
        self.addresses[name] = address
        return name in self.engine.tensors and address % 256 == 0

    def execute_async_v3(self, handle: int) -> bool:
        self.driver.check_current()
        stream = self.driver.stream_of(handle)
        if self.shape is None or set(self.addresses) != set(self.engine.tensors):
            return False
        assert self.activations is not None or not self.engine.trt.activations, "it has no memory for activations"
        if stream.capture is not None:
            assert self.ran, "TensorRT must run a shape once before it is captured"
            if not self.engine.trt.refuses_capture:
                self.captured = True
                stream.capture.append((self, self.shape, dict(self.addresses)))
            return not self.engine.trt.refuses_capture
        self.ran = True
        self.engine.trt.started += 1
        self.start(stream, self.shape, dict(self.addresses))
        return True

    def start(self, stream: FakeStream, shape: tuple[int, ...], addresses: dict[str, int]) -> None:
        self._in_order(stream, lambda: self._compute(shape, addresses))

    def _in_order(self, stream: FakeStream, work: Callable[[], None]) -> None:
        def run() -> None:
            assert order[0] is job, "the activation memory is in use on another stream"
            work()
            order.pop(0)

        order, job = self.order, stream.push(run)
        order.append(job)

    def _compute(self, shape: tuple[int, ...], addresses: dict[str, int]) -> None:
        self.driver.now_ms += IMAGE_MS * shape[0]
        tensors = self.engine.tensors.values()
        source = next(tensor for tensor in tensors if tensor.compute is None)
        dtype = np.dtype(DTYPES[source.dtype])
        size = int(np.prod(shape)) * dtype.itemsize
        images = self.driver.at(addresses[source.name])[:size].view(dtype).reshape(shape)
        for tensor in tensors:
            if tensor.compute is not None:
                result = np.ascontiguousarray(tensor.compute(images), DTYPES[tensor.dtype])
                assert result.shape == (shape[0], *tensor.shape)
                self.driver.at(addresses[tensor.name])[: result.nbytes] = result.view(np.uint8).reshape(-1)

    def __del__(self) -> None:
        self.engine.trt.contexts -= 1
        self.driver.log.append("context gone")


class _RtxContext(_Context):
    """Captures by itself, at most one shape and set of addresses here; it must not be captured from outside."""

    def __init__(self, engine: _Engine, config: RuntimeConfig) -> None:
        super().__init__(engine)
        self.config = config

    def execute_async_v3(self, handle: int) -> bool:
        assert self.driver.stream_of(handle).capture is None, "TensorRT-RTX captures by itself"
        known = self.config.cache.shapes if self.config.cache else set()
        if str(self.shape) not in known:
            self.engine.trt.compiled += 1
            known.add(str(self.shape))
        return super().execute_async_v3(handle)
