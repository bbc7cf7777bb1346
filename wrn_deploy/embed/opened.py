"""One runner that a C program has opened: what it takes and gives, in bytes, and the check of each call; numpy only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from wrn_deploy.errors import UsageError
from wrn_deploy.runtime.runner import Runner
from wrn_deploy.spec import TensorSpec

__all__ = ["Opened", "Tensor", "opened"]


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output as C sees it; `shape` leaves the batch out, `image_bytes` is the size of one image's part."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    image_bytes: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A runner, with the inputs it takes (one a dtype) and its outputs in order."""

    runner: Runner
    inputs: dict[str, Tensor]
    outputs: tuple[Tensor, ...]

    def input(self, dtype: str) -> Tensor:
        """The input for images of a dtype.

        Raises:
            UsageError: it takes none of this dtype.
        """
        if dtype not in self.inputs:
            raise UsageError(f"images are {dtype}: this runner takes {' or '.join(self.inputs)}")
        return self.inputs[dtype]

    def output(self, index: int) -> Tensor:
        """An output by its index.

        Raises:
            UsageError: there is none.
        """
        if not 0 <= index < len(self.outputs):
            raise UsageError(f"output {index}: this runner has {len(self.outputs)}, counted from 0")
        return self.outputs[index]

    def wanted(self, count: int) -> tuple[Tensor, ...]:
        """The outputs that so many buffers are for.

        Raises:
            UsageError: neither one buffer nor one for each output.
        """
        if count not in (1, len(self.outputs)):
            names = ", ".join(output.name for output in self.outputs)
            raise UsageError(f"{count} buffers: expected 1, for {self.outputs[0].name}, or one for each of {names}")
        return self.outputs[:count]


def opened(runner: Runner) -> Opened:
    """Works out once what each call needs."""
    how = runner.bundle.spec.preprocessing
    pixels = TensorSpec("pixels", "uint8", (how.height, how.width, 3))
    inputs = {spec.dtype: _tensor(spec) for spec in (pixels, runner.inputs[0])}  # a graph that takes pixels has one
    return Opened(runner, inputs, tuple(map(_tensor, runner.outputs)))


def _tensor(spec: TensorSpec) -> Tensor:
    dtype = np.dtype(spec.dtype)
    return Tensor(spec.name, dtype, spec.shape, math.prod(spec.shape) * dtype.itemsize)
