"""A sibling's own part of an engine: streams, buffers, and execution contexts that share one block of memory."""

from __future__ import annotations

import contextlib
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wrn_deploy.backends.plan.buffers import Buffers
from wrn_deploy.backends.plan.context import KeptContext, PlanContext
from wrn_deploy.backends.plan.cuda import NON_BLOCKING, DeviceClock, call, cuda_runtime
from wrn_deploy.backends.plan.engine import SharedEngine
from wrn_deploy.errors import DeployError, MachineError
from wrn_deploy.runtime.backend import Array

__all__ = ["AHEAD", "Execution", "Staged"]

AHEAD = 2  # batches of a series on the GPU at the same time, each with its own buffers
FOREIGN = AHEAD  # the buffers of batches that come from the caller's device memory
MAX_KEPT = 8  # kept contexts; each graph keeps the arguments of some hundred kernels on the GPU

# Bytes of a batch and its outputs up to which `infer_on` copies them and launches a graph: to start the kernels of a
# network one by one takes the CPU 150 us or more; to copy this much takes an H200 about 8 us (at 4.3 TB/s).
COPY_LIMIT_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A batch in the buffers of an `Execution`."""

    buffers: Buffers
    count: int


class Execution:
    """Runs inferences in one order. Every method needs the GPU's context current: see `gpu.on_gpu`.

    The own stream orders all inferences: it waits for those on callers' streams, and they wait for it. So no two run at
    once, and all execution contexts can share one block of activation memory. A batch size that comes back gets a
    context of its own and a CUDA graph; other sizes, and the caller's memory, share one context per profile.
    """

    def __init__(self, cuda: Any, engine: SharedEngine, *, graphs: bool) -> None:
        self._cuda, self._engine, self._graphs = cuda, engine, graphs
        self._contexts: dict[int, PlanContext] = {}  # by profile
        self._kept: OrderedDict[tuple[int, Buffers], KeptContext] = OrderedDict()
        self._uses: Counter[tuple[int, Buffers]] = Counter()
        self._buffers: dict[tuple[int, int], Buffers] = {}  # by capacity and turn
        self._loaded: Staged | None = None
        self._stream: Any = None
        self._copies: tuple[Any, Any] | None = None  # streams to the device and back, for series of batches
        self._activations: Any = None
        self._event: Any = None
        self._clock: DeviceClock | None = None
        try:
            self._stream = cuda.Stream(NON_BLOCKING)
            if engine.activation_bytes:
                self._activations = cuda.mem_alloc(engine.activation_bytes)
            self._context_for(engine.profiles[0].optimum)  # fails now, not at the first inference
        except BaseException:
            self.close()  # now: PyCUDA cannot free memory later, see `on_gpu`
            raise

    @property
    def uses_graphs(self) -> bool:
        """Whether inferences on the own buffers run as CUDA graphs, each size from its third inference on."""
        return self._graphs and self._engine.graphs_obstacle is None

    @property
    def stream(self) -> int:
        """CUDA handle of the own stream."""
        return int(self._stream.handle)

    def upload(self, batch: Array) -> None:
        """Starts the copy to the GPU; the caller may reuse the array at once, unless it is pinned memory of a slot."""
        self._loaded = None
        self._loaded = self._copy_in(batch, 0, self._stream)

    def execute(self) -> None:
        """Starts an inference on the uploaded batch."""
        staged = self._uploaded()
        kept = self._kept_for(staged)
        with self._clock or contextlib.nullcontext():
            self._start(staged, kept, self.stream)
        self._capture(kept)

    def synchronize(self) -> None:
        """Waits for all its work, including that on callers' streams."""
        for stream in (*(self._copies or ()), self._stream):
            stream.synchronize()

    def elapsed_ms(self) -> float | None:
        """As `Backend.elapsed_ms`, for uploaded batches."""
        if self._clock is None:
            self._clock = DeviceClock(self._cuda, self._stream)
        return self._clock.elapsed_ms()

    def download(self) -> tuple[Array, ...]:
        """Copies of the outputs of the uploaded batch."""
        staged = self._uploaded()
        self._copy_out(staged, self._stream)
        self._stream.synchronize()
        return self._results(staged)

    def start_series(self) -> None:
        """Orders the copies of a series of batches behind all earlier work; the uploaded batch is gone."""
        self._loaded = None
        if self._copies is None:
            self._copies = (self._cuda.Stream(NON_BLOCKING), self._cuda.Stream(NON_BLOCKING))
        behind = self._cuda.Event(self._cuda.event_flags.DISABLE_TIMING)
        behind.record(self._stream)
        for copies in self._copies:
            copies.wait_for_event(behind)

    def stage(self, batch: Array, turn: int) -> Staged:
        """Starts the copy of a series' batch to the GPU, beside the inference of the batch before it.

        Args:
            batch: the images; the caller may reuse them at once, unless they are pinned memory of a slot.
            turn: the batch's number in the series; `AHEAD` numbers on, its buffers are used again.
        """
        assert self._copies is not None, "start_series comes first"
        return self._copy_in(batch, turn % AHEAD, self._copies[0])

    def run_staged(self, staged: Staged) -> None:
        """Starts the inference behind the batch's copy, and the copies of its outputs behind that.

        The results of the batch that had these buffers before must have been collected.
        """
        assert self._copies is not None, "start_series comes first"
        out, buffers = self._copies[1], staged.buffers
        self._stream.wait_for_event(buffers.uploaded)
        kept = self._kept_for(staged)
        self._start(staged, kept, self.stream)
        buffers.computed.record(self._stream)
        out.wait_for_event(buffers.computed)
        self._copy_out(staged, out)
        buffers.downloaded.record(out)
        self._capture(kept)

    def collect(self, staged: Staged) -> tuple[Array, ...]:
        """Waits for the outputs of a series' batch and returns copies of them."""
        staged.buffers.downloaded.synchronize()
        return self._results(staged)

    def infer_on(self, stream: int, addresses: Sequence[int], batch: int, producers: Sequence[int]) -> None:
        """Starts an inference on the caller's memory and stream.

        A small batch whose size comes back is copied on the device into own buffers, for which there is a graph; its
        outputs are copied back. A graph for the caller's addresses would have to be captured again when they change.

        Args:
            stream: CUDA handle of the caller's stream.
            addresses: of the input and the first outputs; other outputs go to the own buffers.
            batch: the number of images.
            producers: streams that the caller's stream must wait for.
        """
        staged, own = Staged(buffers=self._buffers_for(batch, FOREIGN), count=batch), self.stream
        sizes = [batch * size for size in self._engine.image_bytes[: len(addresses)]]
        kept = self._kept_for(staged) if sum(sizes) <= COPY_LIMIT_BYTES else None
        for producer in producers:
            self._follow(producer, stream)
        self._follow(own, stream)
        try:
            if kept is None:
                rest = [int(staged.buffers.device(at)) for at in range(len(addresses), len(self._engine.tensors))]
                self._context_for(batch).enqueue(self._shape(batch), [*addresses, *rest], stream)
            else:
                ours = staged.buffers.addresses()
                self._copy_on_device(ours[0], addresses[0], sizes[0], stream)
                self._start(staged, kept, stream)
                for target, source, size in zip(addresses[1:], ours[1:], sizes[1:], strict=False):
                    self._copy_on_device(target, source, size, stream)
        finally:
            try:
                self._follow(stream, own)
            except MachineError:  # the memory in use would be freed, or used again
                call("cudaStreamSynchronize", stream)
                raise
        self._capture(kept)

    def close(self) -> None:
        """Waits unless the GPU has failed, then frees graphs, contexts and memory, in this order."""
        failures = (self._cuda.Error, MachineError)
        if self._stream is not None:
            with contextlib.suppress(*failures):
                self.synchronize()
        for kept in self._kept.values():
            with contextlib.suppress(*failures):
                kept.close()
        if self._event is not None:
            with contextlib.suppress(*failures):
                call("cudaEventDestroy", self._event)
        for context in self._contexts.values():
            context.close()
        self._kept.clear()
        self._contexts.clear()
        for buffers in self._buffers.values():
            buffers.free()
        if self._activations is not None:
            with contextlib.suppress(*failures):
                self._activations.free()
        self._buffers, self._loaded = {}, None
        self._uses.clear()
        self._stream = self._copies = self._activations = self._event = self._clock = None

    def _copy_in(self, batch: Array, turn: int, stream: Any) -> Staged:
        """Starts the copy of a batch to the GPU, through own pinned memory unless it lies in pinned memory."""
        staged = Staged(buffers=self._buffers_for(len(batch), turn), count=len(batch))
        buffers = staged.buffers
        if not self._engine.pinned.holds(batch):
            buffers.uploaded.synchronize()  # the last copy may still read the memory
            buffers.host(0)[: len(batch)] = batch
            batch = buffers.host(0)[: len(batch)]
        if stream is not self._stream:
            stream.wait_for_event(buffers.computed)
        self._cuda.memcpy_htod_async(buffers.device(0), batch, stream)
        buffers.uploaded.record(stream)
        return staged

    def _copy_out(self, staged: Staged, stream: Any) -> None:
        for index in range(1, len(self._engine.tensors)):
            memory = staged.buffers.host(index)[: staged.count]
            self._cuda.memcpy_dtoh_async(memory, staged.buffers.device(index), stream)

    def _results(self, staged: Staged) -> tuple[Array, ...]:
        outputs = range(1, len(self._engine.tensors))
        return tuple(np.array(staged.buffers.host(index)[: staged.count]) for index in outputs)

    def _uploaded(self) -> Staged:
        if self._loaded is None:
            raise DeployError("there is no batch to run: upload one first")
        return self._loaded

    def _start(self, staged: Staged, kept: KeptContext | None, stream: int) -> None:
        """Starts an inference on the own buffers."""
        if kept is not None:
            kept.start(stream)
        else:
            self._context_for(staged.count).enqueue(self._shape(staged.count), staged.buffers.addresses(), stream)

    def _kept_for(self, staged: Staged) -> KeptContext | None:
        """The context of this size and these buffers, made at the second use: a size used once is not worth it."""
        if not self.uses_graphs:
            return None
        key = staged.count, staged.buffers
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        self._uses[key] += 1
        if self._uses[key] < 2:
            return None
        if len(self._kept) >= MAX_KEPT:
            self.synchronize()  # a context must not go while its kernels run
            oldest, kept = self._kept.popitem(last=False)
            self._uses[oldest] = 0
            kept.close()
        made = self._engine.new_context(staged.count, self.stream, self._activations, kept=True)
        self._kept[key] = KeptContext(made, self._shape(staged.count), staged.buffers.addresses())
        return self._kept[key]

    def _capture(self, kept: KeptContext | None) -> None:
        """Captures the graph of a context that has just run without one; the next time it runs as a graph.

        This inference is computed whether or not the capture succeeds.
        """
        if kept is None or self._engine.captures_itself or not kept.can_capture or not self.uses_graphs:
            return
        try:
            kept.capture(self.stream)
        except MachineError as error:
            self._engine.give_up_graphs(str(error))

    def _context_for(self, batch: int) -> PlanContext:
        """The shared context on a batch's profile, created when first needed."""
        profile = self._engine.profile_for(batch)
        if profile not in self._contexts:
            self._contexts[profile] = self._engine.new_context(batch, self.stream, self._activations, kept=False)
        return self._contexts[profile]

    def _buffers_for(self, batch: int, turn: int) -> Buffers:
        """Buffers for a batch; they keep their addresses, which graphs contain, until all is closed.

        Their capacities are powers of two, so those for all sizes are at most twice as large as those for the largest.
        """
        self._engine.profile_for(batch)
        capacity = min(1 << (batch - 1).bit_length(), self._engine.batches[-1])
        if (capacity, turn) not in self._buffers:
            self._buffers[capacity, turn] = Buffers(self._cuda, self._engine.tensors, capacity)
        return self._buffers[capacity, turn]

    def _shape(self, batch: int) -> tuple[int, ...]:
        return (batch, *self._engine.inputs[0].shape)

    def _follow(self, earlier: int, later: int) -> None:
        """Makes work started on `later` from now on wait for the work already on `earlier`; blocks nothing else."""
        if self._event is None:  # cuda-bindings' own: PyCUDA's events have no handle, and take only PyCUDA's streams
            self._event = call("cudaEventCreateWithFlags", cuda_runtime().cudaEventDisableTiming)
        call("cudaEventRecord", self._event, earlier)
        call("cudaStreamWaitEvent", later, self._event, 0)

    @staticmethod
    def _copy_on_device(target: int, source: int, size: int, stream: int) -> None:
        call("cudaMemcpyAsync", target, source, size, cuda_runtime().cudaMemcpyKind.cudaMemcpyDeviceToDevice, stream)
