"""A GPU for tests without one: PyCUDA's driver module and a TensorRT, with their rules and none of their speed.

Work on a stream is done when someone waits for it, and reads its memory only then; every call needs a current context;
popping an empty stack is an error; what was freed cannot be used.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["CudaError", "FakeDriver", "FakeTensorRT", "answer_to"]

Array = npt.NDArray[np.float32]


def answer_to(images: Array, classes: int) -> Array:
    """The logits that the fake engine gives: sums over slices of each image."""
    flat = images.reshape(len(images), -1)
    return np.stack([flat[:, index::classes].sum(axis=1) for index in range(classes)], axis=1)


class CudaError(Exception):
    pass


class Allocation:
    def __init__(self, driver: FakeDriver, size: int) -> None:
        driver.check_current()
        self.driver = driver
        self.bytes: npt.NDArray[np.uint8] | None = np.full(size, 0xFF, dtype=np.uint8)
        self.address = driver.next_address
        driver.next_address += size
        driver.memory[self.address] = self

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        self.driver.check_current()
        if self.bytes is None:
            raise CudaError("freed twice")
        self.driver.log.append("free")
        self.bytes = None
        del self.driver.memory[self.address]

    @property
    def data(self) -> npt.NDArray[np.uint8]:
        assert self.bytes is not None, "freed memory is used"
        return self.bytes


class FakeStream:
    def __init__(self, driver: FakeDriver) -> None:
        driver.check_current()
        self.driver = driver
        self.handle = 77 + len(driver.streams)
        self.queue: list[Callable[[], None]] = []

    def synchronize(self) -> None:
        self.driver.check_current()
        work, self.queue = self.queue, []
        for job in work:
            job()


class FakeDriver:
    """Stands for the module `pycuda.driver`."""

    Error = CudaError

    def __init__(self) -> None:
        self.log: list[str] = []
        self.memory: dict[int, Allocation] = {}
        self.next_address = 4096
        self.streams: list[FakeStream] = []
        self.failing: str | None = None  # the text of an error that every call now gives
        self._local = threading.local()
        driver = self

        class Context:
            def push(self) -> None:
                driver.stack.append(self)

            @staticmethod
            def pop() -> None:
                if not driver.stack:
                    raise CudaError("cannot pop non-current context")
                driver.stack.pop()

            def detach(self) -> None:
                raise AssertionError("detach leaves the primary context current")

        class Device:
            def __init__(self, ordinal: int) -> None:
                assert "init" in driver.log
                if ordinal != 0:
                    raise CudaError("invalid device ordinal")

            def retain_primary_context(self) -> Context:
                driver.log.append("retain")
                return Context()

        self.Context, self.Device = Context, Device

    @property
    def stack(self) -> list[Any]:
        """The contexts of this thread, the current one last."""
        if not hasattr(self._local, "stack"):
            self._local.stack = []
        stack: list[Any] = self._local.stack
        return stack

    def check_current(self) -> None:
        if not self.stack:
            raise CudaError("no currently active context?")
        if self.failing is not None:
            raise CudaError(self.failing)

    def init(self) -> None:
        if self.failing is not None:
            raise CudaError(self.failing)
        self.log.append("init")

    def Stream(self) -> FakeStream:  # noqa: N802 (PyCUDA's name)
        self.streams.append(FakeStream(self))
        return self.streams[-1]

    def mem_alloc(self, size: int) -> Allocation:
        return Allocation(self, size)

    def pagelocked_empty(self, shape: tuple[int, ...], dtype: type) -> Array:
        self.check_current()
        assert dtype is np.float32
        return np.full(shape, np.nan, dtype=np.float32)

    def memcpy_htod_async(self, target: Allocation, source: Array, stream: FakeStream) -> None:
        self.check_current()
        assert source.flags.c_contiguous
        stream.queue.append(lambda: self._copy(target.data, source.view(np.uint8).reshape(-1)))

    def memcpy_dtoh_async(self, target: Array, source: Allocation, stream: FakeStream) -> None:
        self.check_current()
        assert target.flags.c_contiguous
        stream.queue.append(lambda: self._copy(target.view(np.uint8).reshape(-1), source.data[: target.nbytes]))

    @staticmethod
    def _copy(target: npt.NDArray[np.uint8], source: npt.NDArray[np.uint8]) -> None:
        assert len(source) <= len(target), "beyond the end of the memory"
        target[: len(source)] = source


class FakeTensorRT:
    """Stands for the module `tensorrt`: it runs the plan b"plan", a network images (N, 3, 4, 4) -> logits (N, 5)."""

    def __init__(self, driver: FakeDriver) -> None:
        trt = self
        self.driver = driver
        self.context_fails = False

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

        self.Logger, self.Runtime = Logger, Runtime


class _Engine:
    def __init__(self, trt: FakeTensorRT) -> None:
        self.trt = trt

    def create_execution_context(self) -> Any:
        self.trt.driver.check_current()
        return None if self.trt.context_fails else _ExecutionContext(self.trt.driver)

    def __del__(self) -> None:
        self.trt.driver.log.append("engine gone")


class _ExecutionContext:
    def __init__(self, driver: FakeDriver) -> None:
        self.driver = driver
        self.shape: tuple[int, ...] | None = None
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if name != "images" or len(shape) != 4 or tuple(shape[1:]) != (3, 4, 4):
            return False
        self.shape = tuple(shape)
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return name in ("images", "logits")

    def execute_async_v3(self, handle: int) -> bool:
        self.driver.check_current()
        stream = next(stream for stream in self.driver.streams if stream.handle == handle)
        if self.shape is None:
            return False
        stream.queue.append(self._compute)
        return True

    def _compute(self) -> None:
        assert self.shape is not None
        source, target = (self.driver.memory[self.addresses[name]].data for name in ("images", "logits"))
        count = int(np.prod(self.shape))
        logits = answer_to(source.view(np.float32)[:count].reshape(self.shape), 5)
        target.view(np.float32)[: logits.size] = logits.ravel()

    def __del__(self) -> None:
        self.driver.log.append("context gone")
