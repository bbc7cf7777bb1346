"""CUDA graphs of one execution context: captured once for a batch size, launched ever after; a bounded number."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

from wrn_deploy.backends.plan.cuda import call, cuda_runtime
from wrn_deploy.errors import MachineError

__all__ = ["Graphs"]

LIMIT = 8  # graphs of a context; each keeps the arguments of some hundred kernels on the GPU


class Graphs:
    """Captured inferences by batch size; the one that was used longest ago goes when there are too many.

    A graph has in it the addresses that the context had when it was captured, and its activations. It stays valid when
    the context gets other addresses or another shape afterwards, but must not run at the same time as the context.
    """

    def __init__(self) -> None:
        self._captured: OrderedDict[int, Any] = OrderedDict()
        self._uses: Counter[int] = Counter()

    def launch(self, batch: int, stream: int) -> bool:
        """Starts the graph for a batch, and says whether there is one."""
        graph = self._captured.get(batch)
        if graph is None:
            return False
        self._captured.move_to_end(batch)
        call("cudaGraphLaunch", graph, stream)
        return True

    def worth_capturing(self, batch: int) -> bool:
        """Counts a use of this size: from the second on it is; a size that comes once is not worth a capture."""
        self._uses[batch] += 1
        return self._uses[batch] >= 2

    def capture(self, batch: int, stream: int, enqueue: Callable[[], bool]) -> None:
        """Records what `enqueue` starts on the stream, without running it.

        TensorRT must have run this shape once since it was set, or it would have to do what cannot be captured. The
        mode is that of this thread alone: what other threads ask of CUDA meanwhile is allowed.

        Raises:
            MachineError: it cannot be captured; the stream is as before.
        """
        runtime = cuda_runtime()
        call("cudaStreamBeginCapture", stream, runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        started = False
        try:
            started = enqueue()
        finally:  # a stream must leave its capture, whatever happened in it
            graph = self._end(stream, started)
        try:
            instance = call("cudaGraphInstantiate", graph, 0)
        finally:
            call("cudaGraphDestroy", graph)
        self._captured[batch] = instance
        if len(self._captured) > LIMIT:
            oldest, graph = self._captured.popitem(last=False)
            self._uses[oldest] = 0
            call("cudaGraphExecDestroy", graph)  # one that runs goes when it is done

    def close(self) -> None:
        """Gives the graphs back; the stream must be idle."""
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
