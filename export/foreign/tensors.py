"""What a foreign graph's values are while it is translated: constants, and tensors of the new graph."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from wrn_deploy.errors import DeployError

__all__ = ["BATCH", "Array", "Known", "Pads", "Refused", "Tensor", "aligned", "per_channel"]

BATCH = -(2**40)  # stands for the batch size in computed shapes; no other size is like it

Array: TypeAlias = npt.NDArray[Any]
Pads: TypeAlias = tuple[int, int, int, int]  # top, left, bottom, right


class Refused(DeployError):  # noqa: N818 (it names what was met)
    """A use of an operator that cannot be taken over (exit code 1)."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the new graph, and how the foreign graph's value differs from it.

    Attributes:
        value: in the new graph: (batch, channels, height, width), or (batch, features).
        shape: its sizes without the batch.
        last: whether the foreign value has its channels last (NHWC).
        sole: whether nothing else reads it, so that the node before it may absorb what follows.
        pads: zeros around the image that the foreign value has, and this tensor does not yet.
    """

    value: ir.Value
    shape: tuple[int, ...]
    last: bool = False
    sole: bool = False
    pads: Pads = (0, 0, 0, 0)

    @property
    def foreign_shape(self) -> tuple[int, ...]:
        """The shape of the foreign value, without the batch."""
        if len(self.shape) != 3:
            return self.shape
        channels, height, width = self.shape
        top, left, bottom, right = self.pads
        height, width = height + top + bottom, width + left + right
        return (height, width, channels) if self.last else (channels, height, width)

    def read_once(self, *, sole: bool) -> Tensor:
        """The same tensor as a further value of the foreign graph, which one node reads, or not."""
        return dataclasses.replace(self, sole=self.sole and sole)


Known: TypeAlias = Tensor | Array


def per_channel(constant: Array, tensor: Tensor) -> npt.NDArray[np.float64] | None:
    """The constant as one number a channel, (C,), if that is how it is broadcast to the tensor; else None."""
    rank = len(tensor.shape) + 1
    if constant.ndim > rank:
        return None
    sizes = (*[1] * (rank - constant.ndim), *constant.shape)
    axis = rank - 1 if tensor.last else 1
    if any(size != 1 for at, size in enumerate(sizes) if at != axis) or sizes[axis] not in (1, tensor.shape[0]):
        return None
    return np.broadcast_to(constant.astype(np.float64).ravel(), (tensor.shape[0],)).copy()


def aligned(constant: Array, tensor: Tensor) -> Array:
    """The constant in the new graph's order of axes, of the tensor's rank."""
    rank = len(tensor.shape) + 1
    whole = constant.reshape(*[1] * (rank - constant.ndim), *constant.shape) if constant.ndim < rank else constant
    return whole.transpose(0, 3, 1, 2) if tensor.last and whole.ndim == 4 else whole
