"""The first GPU's primary context, made current through PyCUDA, and the texts of CUDA's failures."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator
from typing import Any

from wrn_deploy.errors import MachineError, how_to_install

__all__ = ["cuda_failure", "on_gpu"]

# Parts of CUDA's messages after which a process cannot use CUDA again (the CUDA runtime's documentation, cudaError_t:
# "the process must be terminated and relaunched").
LOST = (
    "illegal", "misaligned", "launch fail", "launch timed out", "assert", "hardware", "uncorrectable", "address space",
    "program counter", "unknown error",
)  # fmt: skip


@contextlib.contextmanager
def on_gpu() -> Iterator[Any]:
    """Makes the GPU's primary context current on this thread for the block; yields PyCUDA's driver module.

    PyCUDA's objects must also be freed in such a block: outside of one PyCUDA cannot free their memory.

    Raises:
        MachineError: CUDA cannot be used, or has failed in the block.
    """
    cuda, context = _primary_context()
    try:
        try:
            context.push()
        except cuda.Error:
            context.detach()  # PyCUDA would abort the process when it frees what it made and cannot push either
            raise
        try:
            yield cuda
        finally:
            _pop(cuda, context)
    except cuda.Error as error:
        raise cuda_failure(str(error)) from error


def cuda_failure(text: str) -> MachineError:
    """The error for a message of CUDA's, "CALL failed: REASON"; it says whether this process can go on."""
    reason = text.lower().rpartition(" failed: ")[2]  # "cudaGraphLaunch failed" is no launch failure
    if any(part in reason for part in LOST):
        return MachineError(f"CUDA failed ({text}): this process has lost the GPU, start it again")
    return MachineError(f"CUDA failed ({text}): free GPU memory, or look at the GPU with nvidia-smi")


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

    It is retained until the process ends, and PyCUDA's object for it is never freed: its destructor calls cuCtxDetach,
    which CUDA does not allow on a primary context, and leaves the context current (pycuda 2026.1, cuda.hpp,
    `context::~context`). The last release would also destroy the objects that libraries keep in the context.
    """
    try:
        import pycuda.driver as cuda
    except ImportError as error:
        raise MachineError(f"PyCUDA cannot be loaded ({error}): {how_to_install('cuda', 'pycuda')}") from error
    try:
        cuda.init()
        context = cuda.Device(0).retain_primary_context()
    except cuda.Error as error:
        raise MachineError(f"CUDA cannot be used ({error}): look at the GPU and its driver with nvidia-smi") from error
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(context))
    return cuda, context
