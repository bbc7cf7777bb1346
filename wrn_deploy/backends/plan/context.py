"""One execution context of an engine, on one optimization profile, with its captured CUDA graphs."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from wrn_deploy.backends.plan.cuda import call, cuda_runtime
from wrn_deploy.errors import DeployError, MachineError, StaleArtifact

__all__ = ["Graphs", "ProfileContext"]

MAX_GRAPHS = 8  # graphs per context; each keeps the arguments of some hundred kernels on the GPU


class ProfileContext:
    """An execution context that sets a shape or an address only if it changed, and never changes its profile.

    Changing the profile would take time and invalidate the graphs.

    Args:
        module: TensorRT's Python module, of either flavour.
        deserialized: the engine.
        profile: the profile's index.
        stream: the stream that prepares the profile; inferences must come after it.
        names: the tensors' names, the input first.
        eager: whether each shape's kernels are compiled before its first run, as capturing a graph needs. TensorRT-RTX
            otherwise runs generic kernels until they are compiled.

    Raises:
        MachineError: TensorRT cannot create it.
    """

    def __init__(
        self, module: Any, deserialized: Any, profile: int, stream: int, *, names: Sequence[str], eager: bool
    ) -> None:
        self.graphs = Graphs()
        self._names = names
        self._shape: tuple[int, ...] | None = None
        self._addresses: tuple[int | None, ...] = (None,) * len(names)
        if hasattr(module, "DynamicShapesKernelSpecializationStrategy") and eager:
            config = deserialized.create_runtime_config()
            config.dynamic_shapes_kernel_specialization_strategy = (
                module.DynamicShapesKernelSpecializationStrategy.EAGER
            )
            self._context = deserialized.create_execution_context(config)
        else:
            self._context = deserialized.create_execution_context()
        if self._context is None or not self._context.set_optimization_profile_async(profile, stream):
            raise MachineError("TensorRT cannot make an execution context: free GPU memory, see its message above")

    def enqueue(self, shape: tuple[int, ...], addresses: Sequence[int], stream: int) -> None:
        """Starts an inference.

        Args:
            shape: the input's.
            addresses: of the input and the outputs, in the order of the names.
            stream: CUDA handle; it must order this inference after earlier ones of this context.

        Raises:
            DeployError: the plan does not take the shape or an address.
            MachineError: TensorRT could not start it.
        """
        if shape != self._shape:
            self._shape = None
            if not self._context.set_input_shape(self._names[0], shape):
                raise StaleArtifact(f"the plan does not take {shape}: build it again from this bundle")
            self._shape = shape
        if tuple(addresses) != self._addresses:
            self._addresses = (None,) * len(self._names)
            for name, address in zip(self._names, addresses, strict=True):
                if not self._context.set_tensor_address(name, address):
                    raise DeployError(f"the plan takes no memory at {address:#x} for {name}: see its message above")
            self._addresses = tuple(addresses)
        if not self.again(stream)():
            raise MachineError("TensorRT could not start the inference: see its message above")

    def again(self, stream: int) -> Callable[[], bool]:
        """A function that starts the last inference once more, and returns whether that worked."""
        return lambda: bool(self._context.execute_async_v3(stream))

    def capturable(self, stream: int) -> bool:
        """Whether the inference can be captured, as far as is known: only TensorRT-RTX says so in advance."""
        if hasattr(self._context, "is_stream_capturable"):
            return bool(self._context.is_stream_capturable(stream))
        return True


class Graphs:
    """Captured inferences by batch size; the least recently used one is dropped beyond MAX_GRAPHS.

    A graph contains the addresses of the context at capture time and shares its activations. It stays valid if the
    context gets other addresses or another shape later, but must not run at the same time as the context.
    """

    def __init__(self) -> None:
        self._captured: OrderedDict[int, Any] = OrderedDict()
        self._uses: Counter[int] = Counter()

    def launch(self, batch: int, stream: int) -> bool:
        """Starts the graph for a batch if there is one, and returns whether there is."""
        graph = self._captured.get(batch)
        if graph is None:
            return False
        self._captured.move_to_end(batch)
        call("cudaGraphLaunch", graph, stream)
        return True

    def worth_capturing(self, batch: int) -> bool:
        """Counts a use of this size; true from the second use on, as a size used once is not worth a capture."""
        self._uses[batch] += 1
        return self._uses[batch] >= 2

    def capture(self, batch: int, stream: int, enqueue: Callable[[], bool]) -> None:
        """Records what `enqueue` starts on the stream, without running it.

        TensorRT must have run this shape once since it was set: the first run does work that cannot be captured. The
        capture mode is thread-local: other threads may call CUDA meanwhile.

        Raises:
            MachineError: it cannot be captured; the stream is unchanged.
        """
        runtime = cuda_runtime()
        call("cudaStreamBeginCapture", stream, runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        started = False
        try:
            started = enqueue()
        finally:  # the stream must leave capture mode in any case
            graph = self._end(stream, started)
        try:
            instance = call("cudaGraphInstantiate", graph, 0)
        finally:
            call("cudaGraphDestroy", graph)
        self._captured[batch] = instance
        if len(self._captured) > MAX_GRAPHS:
            oldest, graph = self._captured.popitem(last=False)
            self._uses[oldest] = 0
            call("cudaGraphExecDestroy", graph)  # CUDA frees a running graph when it finishes

    def close(self) -> None:
        """Frees the graphs; the stream must be idle."""
        while self._captured:
            call("cudaGraphExecDestroy", self._captured.popitem()[1])

    @staticmethod
    def _end(stream: int, started: bool) -> Any:
        graph = call("cudaStreamEndCapture", stream)
        if not started:
            if graph is not None and int(graph):
                call("cudaGraphDestroy", graph)
            raise MachineError("TensorRT could not start the inference while it was captured")
        return graph
