"""A GPU for tests without one: PyCUDA's driver module, cuda-bindings' runtime and a TensorRT, with their rules.

Work on a stream is done when someone waits for it, and reads its memory only then; work on other streams is left
undone, unless it was waited for by an event. Every call needs a current context; popping an empty stack is an error;
what was freed cannot be used; what PyCUDA made must be given up with a current context.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["CudaError", "FakeDriver", "FakeRuntime", "FakeStream", "Job"]

Bytes = npt.NDArray[np.uint8]


class CudaError(Exception):
    pass


class Job:
    """A piece of work on a stream; `needs` is the job of another stream that must be done first."""

    def __init__(self, stream: FakeStream, run: Callable[[], None], needs: Job | None = None) -> None:
        self.stream, self.run, self.needs, self.done = stream, run, needs, False


def _nothing() -> None:
    pass


class FakeStream:
    """`capture` is the list that takes what is started while the stream is captured; None: it is not."""

    def __init__(self, driver: FakeDriver, flags: int = 0) -> None:
        driver.check_current()
        self.driver, self.flags = driver, flags
        self.handle = next(driver.handles)
        self.queue: list[Job] = []
        self.capture: list[Any] | None = None
        self.capturer = 0
        driver.streams[self.handle] = weakref.ref(self)

    def synchronize(self) -> None:
        if self.driver.failing is not None:  # what was under way is lost
            for job in self.queue:
                job.run = _nothing
            self.queue.clear()
        self.driver.check_current()
        self.driver.check_capture()
        self.run()

    def run(self, until: Job | None = None) -> None:
        while self.queue and not (until is not None and until.done):
            job = self.queue.pop(0)
            if job.needs is not None and not job.needs.done:
                job.needs.stream.run(job.needs)
            job.run()
            job.done, job.run = True, _nothing

    def wait_for_event(self, event: TimedEvent) -> None:
        self.driver.check_current()
        if event.marker is not None:
            self.push(_nothing, event.marker)

    def push(self, run: Callable[[], None], needs: Job | None = None) -> Job:
        assert self.capture is None, "only inferences may be captured"
        self.queue.append(Job(self, run, needs))
        return self.queue[-1]

    def __del__(self) -> None:
        self.driver.given_up("stream")


class TimedEvent:
    """PyCUDA's event: the GPU's time when its turn on a stream came, unless it takes none."""

    def __init__(self, driver: FakeDriver, flags: int = 0) -> None:
        self.driver: FakeDriver | None = None  # until it is made
        driver.check_current()
        self.driver, self.time_ms, self.timed = driver, float("nan"), flags == 0
        self.marker: Job | None = None

    def record(self, stream: FakeStream) -> None:
        stream.driver.check_current()
        self.marker = stream.push(self._note)

    def _note(self) -> None:
        assert self.driver is not None
        self.time_ms = self.driver.now_ms

    def synchronize(self) -> None:
        assert self.driver is not None
        self.driver.check_current()
        if self.marker is not None and not self.marker.done:
            self.marker.stream.run(self.marker)

    def time_since(self, earlier: TimedEvent) -> float:
        assert self.driver is not None
        self.driver.check_current()
        for event in (self, earlier):
            assert event.timed, "an event that takes no time"
            if event.marker is None or not event.marker.done:
                raise CudaError("cuEventElapsedTime failed: device not ready")
        return self.time_ms - earlier.time_ms

    def __del__(self) -> None:
        if self.driver is not None:
            self.driver.given_up("event")


class Event:
    """cuda-bindings' event: a handle, and where it was recorded last."""

    def __init__(self) -> None:
        self.marker: Job | None = None


class Allocation:
    """Memory; its address is a multiple of 256, as CUDA's are."""

    def __init__(self, driver: FakeDriver, size: int) -> None:
        driver.check_current()
        driver.check_capture()
        self.driver = driver
        self.bytes: Bytes | None = np.full(size, 0xFF, dtype=np.uint8)
        self.address = driver.next_address
        driver.next_address += -(-size // 256) * 256
        driver.memory[self.address] = self

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        self.driver.check_current()
        self.driver.check_capture()
        if self.bytes is None:
            raise CudaError("freed twice")
        self.driver.log.append("free")
        self.bytes = None
        del self.driver.memory[self.address]

    @property
    def data(self) -> Bytes:
        assert self.bytes is not None, "freed memory is used"
        return self.bytes


class FakeDriver:
    """Stands for the module `pycuda.driver`."""

    Error = CudaError
    event_flags = SimpleNamespace(DISABLE_TIMING=2)

    def __init__(self) -> None:
        self.log: list[str] = []
        self.memory: dict[int, Allocation] = {}
        self.next_address = 4096
        self.handles = itertools.count(77)
        self.streams: dict[int, weakref.ref[FakeStream]] = {}
        self.capturing: set[int] = set()  # threads
        self.now_ms = 0.0  # the GPU's clock, which work moves on
        self.lost = False  # even a context cannot be popped
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
                if driver.lost:
                    raise CudaError("cuCtxPopCurrent failed: an illegal memory access was encountered")
                driver.stack.pop()

            def detach(self) -> None:
                assert driver.lost, "detach leaves the primary context current"
                driver.stack[:] = [each for each in driver.stack if each is not self]

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

    def check_capture(self) -> None:
        if threading.get_ident() in self.capturing:
            raise CudaError("operation not permitted when stream is capturing")

    def given_up(self, what: str) -> None:
        if not self.stack:
            self.log.append(f"leaked {what}")

    def stream_of(self, handle: int) -> FakeStream:
        stream = self.streams[handle]()
        assert stream is not None, "a stream that is gone is used"
        return stream

    def at(self, address: int) -> Bytes:
        """The memory from an address on."""
        for start, allocation in self.memory.items():
            if start <= address < start + len(allocation.data):
                return allocation.data[address - start :]
        raise AssertionError(f"{address:#x} is no memory")

    def init(self) -> None:
        if self.failing is not None:
            raise CudaError(self.failing)
        self.log.append("init")

    def Stream(self, flags: int = 0) -> FakeStream:  # noqa: N802 (PyCUDA's name)
        return FakeStream(self, flags)

    def Event(self, flags: int = 0) -> TimedEvent:  # noqa: N802 (PyCUDA's name)
        return TimedEvent(self, flags)

    def mem_alloc(self, size: int) -> Allocation:
        return Allocation(self, size)

    def pagelocked_empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        self.check_current()
        self.check_capture()
        found = np.empty(shape, dtype)
        found.view(np.uint8)[:] = 0xFF
        weakref.finalize(found, self.given_up, "pinned memory").atexit = False
        return found

    def memcpy_htod_async(self, target: Allocation, source: npt.NDArray[Any], stream: FakeStream) -> None:
        self.check_current()
        assert source.flags.c_contiguous
        stream.push(lambda: self._copy(target.data, source.view(np.uint8).reshape(-1)))

    def memcpy_dtoh_async(self, target: npt.NDArray[Any], source: Allocation, stream: FakeStream) -> None:
        self.check_current()
        assert target.flags.c_contiguous
        stream.push(lambda: self._copy(target.view(np.uint8).reshape(-1), source.data[: target.nbytes]))

    @staticmethod
    def _copy(target: Bytes, source: Bytes) -> None:
        assert len(source) <= len(target), "beyond the end of the memory"
        target[: len(source)] = source


class Status(IntEnum):
    cudaSuccess = 0  # noqa: N815 (CUDA's names)
    cudaErrorStreamCaptureUnsupported = 900  # noqa: N815
    cudaErrorLaunchFailure = 719  # noqa: N815


class MemoryType(IntEnum):
    cudaMemoryTypeUnregistered = 0  # noqa: N815
    cudaMemoryTypeHost = 1  # noqa: N815
    cudaMemoryTypeDevice = 2  # noqa: N815
    cudaMemoryTypeManaged = 3  # noqa: N815


class FakeRuntime:
    """Stands for the module `cuda.bindings.runtime`: each call gives a tuple, its status first.

    `refusing` is the name of a call that fails. Graphs are lists of inferences; `graphs` has those that are alive.
    """

    cudaEventDisableTiming = 2  # noqa: N815
    cudaMemoryType = MemoryType  # noqa: N815
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyDeviceToDevice="on the device")  # noqa: N815
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal="thread")  # noqa: N815

    def __init__(self, driver: FakeDriver) -> None:
        self._driver = driver
        self.refusing: str | None = None
        self.graphs: list[list[Any]] = []
        self.events: list[Event] = []
        self.launches = 0
        for name in (
            "cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate", "cudaGraphDestroy",
            "cudaGraphLaunch", "cudaGraphExecDestroy", "cudaEventCreateWithFlags", "cudaEventRecord",
            "cudaStreamWaitEvent", "cudaEventDestroy", "cudaPointerGetAttributes",
            "cudaMemcpyAsync",
        ):  # fmt: skip
            setattr(self, name, self._guarded(name))

    def cudaGetErrorString(self, error: Status) -> tuple[Status, bytes]:  # noqa: N802
        return Status.cudaSuccess, error.name.encode()

    def _guarded(self, name: str) -> Callable[..., tuple[Any, ...]]:
        work = getattr(self, f"_{name.removeprefix('cuda')}")

        def guarded(*values: Any) -> tuple[Any, ...]:
            try:
                self._driver.check_current()
            except CudaError:
                return (Status.cudaErrorLaunchFailure, None)
            if name == self.refusing:
                if name == "cudaStreamEndCapture":
                    work(*values)  # a capture that has failed is over too
                return (Status.cudaErrorStreamCaptureUnsupported, None)
            result = work(*values)
            return (Status.cudaSuccess,) if result is None else (Status.cudaSuccess, result)

        return guarded

    def _StreamBeginCapture(self, handle: int, mode: str) -> None:  # noqa: N802
        assert mode == "thread", "other threads' calls would fail"
        stream = self._driver.stream_of(handle)
        assert stream.flags == 1, "a stream that waits for the default stream breaks the work of others"
        assert stream.capture is None
        stream.capture, stream.capturer = [], threading.get_ident()
        self._driver.capturing.add(stream.capturer)

    def _StreamEndCapture(self, handle: int) -> list[Any]:  # noqa: N802
        stream = self._driver.stream_of(handle)
        assert stream.capture is not None
        assert stream.capturer == threading.get_ident(), "ended by another thread"
        self._driver.capturing.discard(stream.capturer)
        graph, stream.capture = Graph(stream.capture), None
        if self.refusing != "cudaStreamEndCapture":
            self.graphs.append(graph)
        return graph

    def _GraphInstantiate(self, graph: list[Any], flags: int) -> list[Any]:  # noqa: N802
        assert flags == 0
        assert any(graph is each for each in self.graphs)
        assert graph, "an empty graph computes nothing"
        self.graphs.append(Graph(graph))
        return self.graphs[-1]

    def _GraphDestroy(self, graph: list[Any]) -> None:  # noqa: N802
        alive = [each for each in self.graphs if each is not graph]
        assert len(alive) == len(self.graphs) - 1, "destroyed twice"
        self.graphs[:] = alive

    _GraphExecDestroy = _GraphDestroy

    def _GraphLaunch(self, graph: list[Any], handle: int) -> None:  # noqa: N802
        assert any(graph is each for each in self.graphs), "a graph that is gone is launched"
        self.launches += 1
        for context, shape, addresses in graph:
            context.start(self._driver.stream_of(handle), shape, addresses)

    def _EventCreateWithFlags(self, flags: int) -> Event:  # noqa: N802
        assert flags == self.cudaEventDisableTiming, "an event that takes the time is slow"
        self.events.append(Event())
        return self.events[-1]

    def _EventDestroy(self, event: Event) -> None:  # noqa: N802
        self.events.remove(event)

    def _EventRecord(self, event: Event, stream: int) -> None:  # noqa: N802
        assert event in self.events
        event.marker = self._driver.stream_of(stream).push(lambda: None)

    def _StreamWaitEvent(self, stream: int, event: Event, flags: int) -> None:  # noqa: N802
        assert flags == 0
        assert event in self.events
        self._driver.stream_of(stream).push(lambda: None, event.marker)

    def _MemcpyAsync(self, target: int, source: int, size: int, kind: str, stream: int) -> None:  # noqa: N802
        assert kind == "on the device"

        def copy() -> None:
            self._driver.at(target)[:size] = self._driver.at(source)[:size]

        self._driver.stream_of(stream).push(copy)

    def _PointerGetAttributes(self, address: int) -> SimpleNamespace:  # noqa: N802
        try:
            self._driver.at(address)
        except AssertionError:
            return SimpleNamespace(type=MemoryType.cudaMemoryTypeUnregistered, device=-2)
        return SimpleNamespace(type=MemoryType.cudaMemoryTypeDevice, device=0)


class Graph(list[Any]):
    """A handle, which cuda-bindings lets be turned into a number."""

    def __int__(self) -> int:
        return id(self)
