"""CUDA for plans: the GPU's clock through PyCUDA, and calls that only cuda-bindings has."""

from __future__ import annotations

import functools
from typing import Any

from wrn_deploy.errors import MachineError, how_to_install
from wrn_deploy.runtime.gpu import cuda_failure

__all__ = ["NON_BLOCKING", "DeviceClock", "call", "cuda_runtime"]

# CU_STREAM_NON_BLOCKING, which PyCUDA does not name: a stream that does not wait for the default stream. PyTorch uses
# the default stream, and would fail in another thread while a graph is captured on a stream that waits for it.
NON_BLOCKING = 1


@functools.cache
def cuda_runtime() -> Any:
    """The module `cuda.bindings.runtime`: graphs, and events on callers' streams.

    Raises:
        MachineError: cuda-bindings is not installed, or cannot be loaded.
    """
    try:
        from cuda.bindings import runtime
    except (ImportError, OSError, RuntimeError) as error:
        raise MachineError(
            f"cuda-bindings cannot be loaded ({error}): {how_to_install('cuda', 'cuda-bindings')}"
        ) from error
    return runtime


def call(name: str, *values: Any) -> Any:
    """Calls a function of `cuda_runtime()` and returns its result, or None if it has none.

    Raises:
        MachineError: CUDA reports a failure.
    """
    runtime = cuda_runtime()
    error, *results = getattr(runtime, name)(*values)
    if int(error) != 0:
        _, text = runtime.cudaGetErrorString(error)
        raise cuda_failure(f"{name} failed: {text.decode() if isinstance(text, bytes) else text}")
    return results[0] if results else None


class DeviceClock:
    """The GPU's own clock: times the work started in its `with` block, in the GPU's context: see `on_gpu`.

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
