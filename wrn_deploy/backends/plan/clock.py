"""The GPU's own clock: how long what is between two events on a stream took there."""

from __future__ import annotations

from typing import Any

__all__ = ["DeviceClock"]


class DeviceClock:
    """Times what is started in its `with` block; every call needs the GPU's context current: see `cuda.on_gpu`.

    It ends with the block, before a graph is captured: an event in a capture would become a part of the graph.

    Args:
        cuda: PyCUDA's driver module. Its events do here: the stream is one of PyCUDA's too.
        stream: what is timed is started on it.
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
        """Of the last block, in ms, half a microsecond fine (CUDA's documentation, cudaEventElapsedTime); waits for it.

        None where there was none, or it failed.
        """
        if not self._ran:
            return None
        self._end.synchronize()
        return float(self._end.time_since(self._start))
