"""The GPU's own clock: the time between two events on a stream."""

from __future__ import annotations

from typing import Any

__all__ = ["DeviceClock"]


class DeviceClock:
    """Times the work started in its `with` block. Every call needs the GPU's context current: see `cuda.on_gpu`.

    End the block before capturing a graph: an event inside a capture would become part of the graph.

    Args:
        cuda: PyCUDA's driver module, whose events work because the stream is PyCUDA's too.
        stream: the stream that runs the work.
    """

    def __init__(self, cuda: Any, stream: Any) -> None:
        self._stream = stream
        self._start, self._end = cuda.Event(), cuda.Event()
        self._ran = False

    def __enter__(self) -> None:
        self._ran = False
        self._start.record(self._stream)

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        if kind is None:
            self._end.record(self._stream)
            self._ran = True

    def elapsed_ms(self) -> float | None:
        """Time of the last block in ms; waits for it. None if there was none, or it failed.

        The resolution is half a microsecond (CUDA's documentation, cudaEventElapsedTime).
        """
        if not self._ran:
            return None
        self._end.synchronize()
        return float(self._end.time_since(self._start))
