"""Memory for batches: buffers on both sides of the bus for one batch, and pinned memory that callers write into."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from wrn_deploy.errors import MachineError
from wrn_deploy.runtime.backend import Array
from wrn_deploy.runtime.gpu import on_gpu
from wrn_deploy.spec import TensorSpec

__all__ = ["Buffers", "PinnedMemory", "tensor_bytes"]


class Buffers:
    """Pinned host memory and device memory for each tensor, allocated when first used, in the GPU's context.

    The events order copies against inferences if they run on streams of their own: `uploaded` is behind the last copy
    to the device, `computed` behind the last inference, `downloaded` behind the last copies to the host.

    Args:
        cuda: PyCUDA's driver module.
        tensors: the input, then the outputs.
        capacity: the largest number of images.
    """

    def __init__(self, cuda: Any, tensors: Sequence[TensorSpec], capacity: int) -> None:
        self._cuda, self._tensors, self._capacity = cuda, tensors, capacity
        self._host: dict[int, Array] = {}
        self._device: dict[int, Any] = {}
        self.uploaded, self.computed, self.downloaded = (cuda.Event(cuda.event_flags.DISABLE_TIMING) for _ in range(3))

    def host(self, index: int) -> Array:
        """Pinned memory of tensor `index`, (capacity, *shape)."""
        if index not in self._host:
            tensor = self._tensors[index]
            shape = (self._capacity, *tensor.shape)
            self._host[index] = self._cuda.pagelocked_empty(shape, np.dtype(tensor.dtype))
        return self._host[index]

    def device(self, index: int) -> Any:
        """Device memory of tensor `index`, which `int` makes an address."""
        if index not in self._device:
            self._device[index] = self._cuda.mem_alloc(self._capacity * tensor_bytes(self._tensors[index]))
        return self._device[index]

    def addresses(self) -> list[int]:
        """Device addresses of all tensors."""
        return [int(self.device(index)) for index in range(len(self._tensors))]

    def free(self) -> None:
        """Frees what was allocated, even if CUDA has failed; nothing may use it."""
        self._host.clear()
        for memory in self._device.values():
            with contextlib.suppress(self._cuda.Error):
                memory.free()
        self._device.clear()
        del self.uploaded, self.computed, self.downloaded  # an error's traceback may hold these buffers for long


class PinnedMemory:
    """Pinned blocks that threads borrow for a batch of images, so that a copy to the GPU can read them directly.

    Args:
        tensor: the input.
    """

    def __init__(self, tensor: TensorSpec) -> None:
        self._tensor = tensor
        self._lock = threading.Lock()
        self._free: list[Array] = []
        self._ranges: dict[int, int] = {}  # first address -> the one behind the last
        self._closed = False

    @contextlib.contextmanager
    def lend(self, count: int) -> Iterator[Array]:
        """(count, *shape) of the input's dtype, uninitialised; it must not be used after the block."""
        block = self._take(count)
        images = block[:count]
        try:
            yield images
        finally:
            images.flags.writeable = False  # a later write is an error, and not another batch's pixels
            with self._lock:
                if not self._closed:
                    self._free.append(block)

    def holds(self, array: Array) -> bool:
        """Whether a copy to the GPU can read the array where it lies: C order, within a block."""
        if not self._ranges:
            return False
        start = array.__array_interface__["data"][0]
        inside = any(first <= start and start + array.nbytes <= end for first, end in tuple(self._ranges.items()))
        return inside and array.flags.c_contiguous

    def close(self) -> None:
        """Frees the blocks; lent ones when their last view goes."""
        with self._lock:
            self._closed = True
            self._free.clear()
            self._ranges.clear()

    def _take(self, count: int) -> Array:
        """A free block that is large enough, or a new one in the place of one that is not."""
        with self._lock:
            chosen = min((block for block in self._free if len(block) >= count), key=len, default=None)
            if chosen is not None:
                self._free = [block for block in self._free if block is not chosen]
                return chosen
            small = [self._free.pop()] if self._free else []
            if small:
                del self._ranges[_address(small[0])]
        small.clear()
        with on_gpu() as cuda:
            block = _Block(cuda.pagelocked_empty((count, *self._tensor.shape), np.dtype(self._tensor.dtype)))
        made = np.asarray(block)
        with self._lock:
            self._ranges[_address(made)] = _address(made) + made.nbytes
        return made


class _Block:
    """Pinned memory that is freed in the GPU's context, wherever its last view goes: elsewhere PyCUDA cannot."""

    def __init__(self, memory: Array) -> None:
        self.__array_interface__ = memory.__array_interface__
        self._memory: Array | None = memory
        self._process = os.getpid()

    def __del__(self) -> None:
        if os.getpid() != self._process:  # CUDA does not work after a fork: the parent frees it
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._memory))
            return
        with contextlib.suppress(MachineError), on_gpu():
            self._memory = None


def tensor_bytes(tensor: TensorSpec) -> int:
    """Bytes of one image's part of a tensor."""
    return math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
