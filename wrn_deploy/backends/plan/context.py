"""An execution context of an engine, and one that is kept for one batch size and its CUDA graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wrn_deploy.backends.plan.cuda import call, cuda_runtime
from wrn_deploy.errors import DeployError, MachineError, StaleArtifact

__all__ = ["KeptContext", "PlanContext"]


class PlanContext:
    """An execution context on one profile, which it never changes; it sets a shape or an address only if it changed.

    Args:
        context: TensorRT's, which has its profile and its activation memory.
        names: the tensors' names, the input first.
    """

    def __init__(self, context: Any, names: Sequence[str]) -> None:
        self._context = context
        self._names = names
        self._shape: tuple[int, ...] | None = None
        self._addresses: tuple[int | None, ...] = (None,) * len(names)

    def enqueue(self, shape: tuple[int, ...], addresses: Sequence[int], stream: int) -> None:
        """Starts an inference.

        Args:
            shape: the input's.
            addresses: of the input and the outputs, in the order of the names.
            stream: CUDA handle; it must order this inference after earlier ones that use the same activation memory.

        Raises:
            DeployError: the plan does not take the shape or an address.
            MachineError: TensorRT could not start it.
        """
        if shape != self._shape:
            self._shape = None
            if not self._context.set_input_shape(self._names[0], shape):
                raise StaleArtifact(f"the plan does not take {shape}: rebuild it from this bundle")
            self._shape = shape
        if tuple(addresses) != self._addresses:
            self._addresses = (None,) * len(self._names)
            for name, address in zip(self._names, addresses, strict=True):
                if not self._context.set_tensor_address(name, address):
                    raise DeployError(f"the plan takes no memory at {address:#x} for {name}: see its message above")
            self._addresses = tuple(addresses)
        if not self._context.execute_async_v3(stream):
            raise MachineError("TensorRT could not start the inference: see its message above")

    def close(self) -> None:
        """Frees TensorRT's context, even if the traceback of an error still holds this object."""
        self._context = None


class KeptContext:
    """An execution context for one batch size on one set of buffers, and the CUDA graph that was captured from it.

    A captured graph is valid as long as its context keeps its shape and addresses (NVIDIA's TensorRT documentation,
    "CUDA Graphs": "use one execution context per captured graph, and share memory across the contexts").

    Args:
        plan_context: nothing else uses it.
        shape: the input's.
        addresses: of the input and the outputs, in the order of the names.
    """

    def __init__(self, plan_context: PlanContext, shape: tuple[int, ...], addresses: Sequence[int]) -> None:
        self._plan_context, self._shape, self._addresses = plan_context, shape, addresses
        self._graph: Any = None
        self._ran = False

    @property
    def can_capture(self) -> bool:
        """Whether it has run and has no graph: TensorRT's first run of a shape does work that cannot be captured."""
        return self._ran and self._graph is None

    def start(self, stream: int) -> None:
        """Starts an inference, as a graph if there is one; raises as `PlanContext.enqueue`."""
        if self._graph is not None:
            call("cudaGraphLaunch", self._graph, stream)
            return
        self._plan_context.enqueue(self._shape, self._addresses, stream)
        self._ran = True

    def capture(self, stream: int) -> None:
        """Records an inference on the stream as a graph, without running it.

        The capture mode is thread-local: other threads may call CUDA meanwhile.

        Raises:
            MachineError: it cannot be captured; the stream is unchanged.
        """
        mode = cuda_runtime().cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        call("cudaStreamBeginCapture", stream, mode)
        started = False
        try:
            self._plan_context.enqueue(self._shape, self._addresses, stream)
            started = True
        except MachineError as error:
            raise MachineError("TensorRT could not start the inference while it was captured: see above") from error
        finally:  # the stream must leave capture mode in any case
            graph = _end_capture(stream, keep=started)
        try:
            self._graph = call("cudaGraphInstantiate", graph, 0)
        finally:
            call("cudaGraphDestroy", graph)

    def close(self) -> None:
        """Frees the graph and the context; the streams that run it must be idle."""
        graph, self._graph = self._graph, None
        try:
            if graph is not None:
                call("cudaGraphExecDestroy", graph)
        finally:
            self._plan_context.close()


def _end_capture(stream: int, *, keep: bool) -> Any:
    """The recorded graph; None unless it is to be kept."""
    graph = call("cudaStreamEndCapture", stream)
    if keep:
        return graph
    if graph is not None and int(graph):
        call("cudaGraphDestroy", graph)
    return None
