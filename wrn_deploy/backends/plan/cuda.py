"""CUDA for plans: the GPU's primary context and clock through PyCUDA, and calls that only cuda-bindings has."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from wrn_deploy.errors import MachineError, how_to_install

__all__ = ["NON_BLOCKING", "DeviceClock", "call", "cuda_runtime", "on_gpu"]

# CU_STREAM_NON_BLOCKING, which PyCUDA does not name: a stream that does not wait for the default stream. PyTorch uses
# the default stream, and would fail in another thread while a graph is captured on a stream that waits for it.
NON_BLOCKING = 1

# Parts of CUDA's messages after which a process cannot use CUDA again (the CUDA runtime's documentation, cudaError_t:
# "the process must be terminated and relaunched").
LOST = ("illegal", "misaligned", "launch fail", "launch timed out", "assert", "hardware", "uncorrectable")


@contextlib.contextmanager
def on_gpu() -> Iterator[Any]:
    """Makes the GPU's primary context current on this thread for the block; yields PyCUDA's driver module.

    PyCUDA's objects must also be freed in such a block: outside of one PyCUDA cannot free their memory.

    Raises:
        MachineError: CUDA cannot be used, or has failed in the block.
    """
    cuda, context = _primary_context()
    try:
        context.push()
        try:
            yield cuda
        finally:
            _pop(cuda, context)
    except cuda.Error as error:
        raise _failed(str(error)) from error


def _pop(cuda: Any, context: Any) -> None:
    """Restores the thread's own context, and empties PyCUDA's stack of contexts even after a fatal CUDA error.

    PyCUDA aborts the process if a thread's stack is not empty when the thread or the interpreter ends.
    """
    try:
        cuda.Context.pop()
    except cuda.Error:
        context.detach()
        raise


@functools.cache
def _primary_context() -> tuple[Any, Any]:
    """PyCUDA's driver module and the first GPU's primary context, which torch and ONNX Runtime use too.

    It is retained until the process ends, as `pycuda.autoprimaryctx` does: PyCUDA's `detach` makes it current, which
    CUDA's release does not undo, and the last release destroys the objects that libraries keep in it.
    """
    try:
        import pycuda.driver as cuda
    except ImportError as error:
        raise MachineError(f"PyCUDA cannot be loaded ({error}): install it again, for this CUDA") from error
    try:
        cuda.init()
        return cuda, cuda.Device(0).retain_primary_context()
    except cuda.Error as error:
        raise MachineError(f"CUDA cannot be used ({error}): look at the GPU and its driver with nvidia-smi") from error


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
            f"cuda-bindings cannot be loaded ({error}): {how_to_install('gpu', 'cuda-bindings')}"
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
        raise _failed(f"{name} failed: {text.decode() if isinstance(text, bytes) else text}")
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


def _failed(text: str) -> MachineError:
    if any(word in text.lower() for word in LOST):
        return MachineError(f"CUDA failed ({text}): this process has lost the GPU, start it again")
    return MachineError(f"CUDA failed ({text}): free GPU memory, or look at the GPU with nvidia-smi")
