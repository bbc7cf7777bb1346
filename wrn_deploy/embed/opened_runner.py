"""A runner opened by a C program: its inputs and outputs in bytes, and the checks of each call; numpy only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from wrn_deploy.errors import UsageError
from wrn_deploy.runtime.runner import Runner
from wrn_deploy.spec import TensorSpec

__all__ = ["CTensor", "OpenedRunner", "describe_runner"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CTensor:
    """An input or output as C sees it; `shape` is without the batch, `image_bytes` the size of one image."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    image_bytes: int


@dataclass(frozen=True, slots=True)
class OpenedRunner:
    """A runner, its inputs (one per dtype) and its outputs in order."""

    runner: Runner
    inputs: dict[str, CTensor]
    outputs: tuple[CTensor, ...]

    def input(self, dtype: str) -> CTensor:
        """The input for images of a dtype.

        Raises:
            UsageError: the runner takes no images of this dtype.
        """
        if dtype not in self.inputs:
            raise UsageError(f"images are {dtype}: this runner takes {' or '.join(self.inputs)}")
        return self.inputs[dtype]

    def output(self, index: int) -> CTensor:
        """An output by its index.

        Raises:
            UsageError: there is no such output.
        """
        if not 0 <= index < len(self.outputs):
            raise UsageError(f"output {index}: this runner has {len(self.outputs)}, counted from 0")
        return self.outputs[index]

    def targets(self, count: int) -> list[CTensor]:
        """The outputs for `count` buffers.

        Raises:
            UsageError: `count` is neither 1 nor the number of outputs.
        """
        if count not in (1, len(self.outputs)):
            names = ", ".join(output.name for output in self.outputs)
            raise UsageError(f"{count} buffers: expected 1, for {self.outputs[0].name}, or one for each of {names}")
        return [*self.outputs[:count]]


def describe_runner(runner: Runner) -> OpenedRunner:
    """Computes once what each call needs."""
    size = runner.bundle.spec.preprocessing
    pixels = TensorSpec("pixels", "uint8", (size.height, size.width, 3))
    inputs = {spec.dtype: _tensor(spec) for spec in (pixels, runner.inputs[0])}  # one entry if the graph takes pixels
    return OpenedRunner(runner, inputs, tuple(map(_tensor, runner.outputs)))


def _tensor(spec: TensorSpec) -> CTensor:
    dtype = np.dtype(spec.dtype)
    size = math.prod(spec.shape) * dtype.itemsize
    return CTensor(name=spec.name, dtype=dtype, shape=spec.shape, image_bytes=size)
