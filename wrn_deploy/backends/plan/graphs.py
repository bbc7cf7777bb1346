"""CUDA graphs of one execution context, one per batch size: captured once, then launched; a bounded number."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

from wrn_deploy.backends.plan.cuda import call, cuda_runtime
from wrn_deploy.errors import MachineError

__all__ = ["Graphs"]

LIMIT = 8  # graphs per context; each keeps the arguments of some hundred kernels on the GPU


class Graphs:
    """Captured inferences by batch size; the least recently used one is dropped beyond LIMIT.

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
        if len(self._captured) > LIMIT:
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
