"""Arrays over memory that a C program points to, on the host or on a CUDA device; numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wrn_deploy.backend import Array

__all__ = ["DeviceMemory", "host_array"]


def host_array(memory: Any, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> Array:
    """An array over a buffer of exactly its size; neither copied nor owned."""
    return np.frombuffer(memory, dtype).reshape(shape)


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """C-contiguous memory of a CUDA device, which somebody else owns.

    Attributes:
        address: of its first byte, on the device.
        dtype: of its elements.
        shape: all of it, batch first.
    """

    address: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Version 3 of the protocol; the stream is told to the runner, so none is named here."""
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": None,
            "stream": None,
            "version": 3,
        }
