"""One stream with its own buffers, and an execution context for each profile in use; all its work is in one order."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from wrn_deploy.backends.plan.clock import DeviceClock
from wrn_deploy.backends.plan.context import ProfileContext
from wrn_deploy.backends.plan.cuda import NON_BLOCKING, call, cuda_runtime
from wrn_deploy.backends.plan.engine import SharedEngine
from wrn_deploy.errors import DeployError, MachineError
from wrn_deploy.runtime.backend import Array

__all__ = ["Execution"]


class Execution:
    """What one sibling has to itself. Every method needs the GPU's context current: see `cuda.on_gpu`.

    Its own stream stands for all its work, that on the streams of others too: it waits for each, and each for it. So
    an execution context never runs on two streams at once, and who waits for the own stream waits for everything.
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
            self.close()  # now, as PyCUDA cannot do it later: see `on_gpu`
            raise

    def _acquire(self) -> None:
        self._stream = self._cuda.Stream(NON_BLOCKING)
        for tensor in self._engine.tensors:
            shape = (self._engine.batches[-1], *tensor.shape)
            self._host.append(self._cuda.pagelocked_empty(shape, np.dtype(tensor.dtype)))
            self._device.append(self._cuda.mem_alloc(self._host[-1].nbytes))
        self._context_for(self._engine.profiles[0].optimum)  # what cannot be made is found out now

    @property
    def uses_graphs(self) -> bool:
        """Whether inferences on the own buffers run as CUDA graphs, each size from its third time on."""
        return self._graphs and self._engine.graphs_obstacle is None

    @property
    def stream(self) -> int:
        """CUDA's handle of the own stream."""
        return int(self._stream.handle)

    def upload(self, batch: Array) -> None:
        """Starts the copy to the GPU; the array may be reused at once."""
        count = len(batch)
        self._engine.profile_for(count)
        self._stream.synchronize()  # the last copy may still read the memory
        self.size = 0
        self._host[0][:count] = batch
        self._cuda.memcpy_htod_async(self._device[0], self._host[0][:count], self._stream)
        self.size = count

    def execute(self) -> None:
        """Starts an inference on the own buffers, as a graph where there is one; makes one where that was asked for.

        A graph is captured behind a plain start of the same shape and runs from the next time on: what was asked for
        is computed, whether or not the capture succeeds.
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
        """Starts an inference on memory of the caller's, on a stream of the caller's.

        Args:
            stream: the caller's stream, as CUDA's handle.
            addresses: of the input and the first outputs; the other outputs go to the own buffers.
            batch: the number of images.
            producers: streams whose work the caller's must wait for.
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
        """Waits for all its work, that on the streams of others too."""
        self._stream.synchronize()

    def elapsed_ms(self) -> float | None:
        """As `Backend.elapsed_ms`: of what ran on the own buffers."""
        if self._clock is None:
            self._clock = DeviceClock(self._cuda, self._stream)
        return self._clock.elapsed_ms()

    def download(self) -> tuple[Array, ...]:
        """The outputs in the own buffers, copied."""
        results = [host[: self.size] for host in self._host[1:]]
        for result, memory in zip(results, self._device[1:], strict=True):
            self._cuda.memcpy_dtoh_async(result, memory, self._stream)
        self._stream.synchronize()
        return tuple(np.array(result) for result in results)

    def close(self) -> None:
        """Waits, if the GPU has not failed, then gives back graphs, contexts and memory, in this order."""
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
        """The context on the profile for a batch, made when it is first needed."""
        profile = self._engine.profile_for(batch)
        if profile not in self._contexts:
            made = self._engine.new_context(profile, self._stream.handle, settled=self.uses_graphs)
            self._contexts[profile] = made
        return self._contexts[profile]

    def _follow(self, earlier: int, later: int) -> None:
        """What is started on `later` from now on waits for what has been started on `earlier`; nobody else waits."""
        if self._event is None:  # cuda-bindings' own: PyCUDA's events tell no handle, and its streams are its own alone
            self._event = call("cudaEventCreateWithFlags", cuda_runtime().cudaEventDisableTiming)
        call("cudaEventRecord", self._event, earlier)
        call("cudaStreamWaitEvent", later, self._event, 0)
