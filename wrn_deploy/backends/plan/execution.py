"""One stream with its own buffers and an execution context per profile in use; all its work is in one order."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from wrn_deploy.backends.plan.context import ProfileContext
from wrn_deploy.backends.plan.cuda import NON_BLOCKING, DeviceClock, call, cuda_runtime
from wrn_deploy.backends.plan.engine import SharedEngine
from wrn_deploy.errors import DeployError, MachineError
from wrn_deploy.runtime.backend import Array

__all__ = ["Execution"]


class Execution:
    """A sibling's own part of an engine. Every method needs the GPU's context current: see `cuda.on_gpu`.

    Its stream waits for its work on callers' streams, and they wait for its stream. So an execution context never runs
    on two streams at once, and waiting for the own stream waits for all work.
    """

    def __init__(self, cuda: Any, engine: SharedEngine, *, graphs: bool) -> None:
        self.size = 0  # images in the own buffers
        self._cuda, self._engine, self._graphs = cuda, engine, graphs
        self._contexts: dict[int, ProfileContext] = {}
        self._stream: Any = None
        self._event: Any = None
        self._clock: DeviceClock | None = None
        self._host: list[Array] = []
        self._device: list[Any] = []
        try:
            self._acquire()
        except BaseException:
            self.close()  # now: PyCUDA cannot free memory later, see `on_gpu`
            raise

    def _acquire(self) -> None:
        self._stream = self._cuda.Stream(NON_BLOCKING)
        for tensor in self._engine.tensors:
            shape = (self._engine.batches[-1], *tensor.shape)
            self._host.append(self._cuda.pagelocked_empty(shape, np.dtype(tensor.dtype)))
            self._device.append(self._cuda.mem_alloc(self._host[-1].nbytes))
        self._context_for(self._engine.profiles[0].optimum)  # fails now, not at the first inference

    @property
    def uses_graphs(self) -> bool:
        """Whether inferences on the own buffers run as CUDA graphs, each size from its third inference on."""
        return self._graphs and self._engine.graphs_obstacle is None

    @property
    def stream(self) -> int:
        """CUDA handle of the own stream."""
        return int(self._stream.handle)

    def upload(self, batch: Array) -> None:
        """Starts the copy to the GPU; the caller may reuse the array at once."""
        count = len(batch)
        self._engine.profile_for(count)
        self._stream.synchronize()  # the last copy may still read the memory
        self.size = 0
        self._host[0][:count] = batch
        self._cuda.memcpy_htod_async(self._device[0], self._host[0][:count], self._stream)
        self.size = count

    def execute(self) -> None:
        """Starts an inference on the own buffers: with the size's graph, or without one and then captures it.

        A graph is captured after a plain inference of the same shape and runs from the next time on, so that this
        inference is computed whether or not the capture succeeds.
        """
        if not self.size:
            raise DeployError("there is nothing to execute on: upload a batch first")
        context, stream = self._context_for(self.size), self._stream.handle
        with self._clock or contextlib.nullcontext():
            if self.uses_graphs and context.graphs.launch(self.size, stream):
                return
            context.enqueue((self.size, *self._engine.inputs[0].shape), [int(each) for each in self._device], stream)
        if not self.uses_graphs or not context.graphs.worth_capturing(self.size):
            return
        if not context.capturable(stream):
            self._engine.give_up_graphs("TensorRT-RTX says that it cannot be captured with this plan")
            return
        try:
            context.graphs.capture(self.size, stream, context.again(stream))
        except MachineError as error:
            self._engine.give_up_graphs(str(error))

    def infer_on(self, stream: int, addresses: Sequence[int], batch: int, producers: Sequence[int]) -> None:
        """Starts an inference on the caller's memory and stream.

        Args:
            stream: CUDA handle of the caller's stream.
            addresses: of the input and the first outputs; other outputs go to the own buffers.
            batch: the number of images.
            producers: streams that the caller's stream must wait for.
        """
        own = self._stream.handle
        context = self._context_for(batch)
        for producer in producers:
            self._follow(producer, stream)
        self._follow(own, stream)
        rest = [int(each) for each in self._device[len(addresses) :]]
        try:
            context.enqueue((batch, *self._engine.inputs[0].shape), [*addresses, *rest], stream)
        finally:
            self._follow(stream, own)

    def synchronize(self) -> None:
        """Waits for all its work, including that on callers' streams."""
        self._stream.synchronize()

    def elapsed_ms(self) -> float | None:
        """As `Backend.elapsed_ms`, for inferences on the own buffers."""
        if self._clock is None:
            self._clock = DeviceClock(self._cuda, self._stream)
        return self._clock.elapsed_ms()

    def download(self) -> tuple[Array, ...]:
        """Copies of the outputs in the own buffers."""
        results = [host[: self.size] for host in self._host[1:]]
        for result, memory in zip(results, self._device[1:], strict=True):
            self._cuda.memcpy_dtoh_async(result, memory, self._stream)
        self._stream.synchronize()
        return tuple(np.array(result) for result in results)

    def close(self) -> None:
        """Waits unless the GPU has failed, then frees graphs, contexts and memory, in this order."""
        failures = (self._cuda.Error, MachineError)
        if self._stream is not None:
            with contextlib.suppress(*failures):
                self._stream.synchronize()
        for graphs in [context.graphs for context in self._contexts.values()]:
            with contextlib.suppress(*failures):
                graphs.close()
        if self._event is not None:
            with contextlib.suppress(*failures):
                call("cudaEventDestroy", self._event)
        self._contexts.clear()
        for memory in self._device:
            with contextlib.suppress(*failures):
                memory.free()
        self._host, self._device, self._stream, self._event, self._clock = [], [], None, None, None

    def _context_for(self, batch: int) -> ProfileContext:
        """The context on a batch's profile, created when first needed."""
        profile = self._engine.profile_for(batch)
        if profile not in self._contexts:
            made = self._engine.new_context(profile, self._stream.handle, eager=self.uses_graphs)
            self._contexts[profile] = made
        return self._contexts[profile]

    def _follow(self, earlier: int, later: int) -> None:
        """Makes work started on `later` from now on wait for the work already on `earlier`; blocks nothing else."""
        if self._event is None:  # cuda-bindings' own: PyCUDA's events have no handle, and take only PyCUDA's streams
            self._event = call("cudaEventCreateWithFlags", cuda_runtime().cudaEventDisableTiming)
        call("cudaEventRecord", self._event, earlier)
        call("cudaStreamWaitEvent", later, self._event, 0)
