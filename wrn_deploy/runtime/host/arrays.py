"""The caller's numpy arrays: arrays for the outputs, batches in parts; numpy only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.backend import Array
from wrn_deploy.spec import TensorSpec

__all__ = ["check_targets", "named_outputs", "split_batch"]


def named_outputs(out: object | Mapping[str, object], outputs: Sequence[TensorSpec]) -> dict[str, object]:
    """The caller's arrays by the outputs' names, in their order: one array for the first output, or a map for all.

    Raises:
        DeployError: the map has other names.
    """
    if not isinstance(out, Mapping):
        return {outputs[0].name: out}
    names = [output.name for output in outputs]
    if set(out) != set(names):
        raise DeployError(f"out has {', '.join(map(str, out)) or 'nothing'}: expected {' and '.join(names)}")
    return {name: out[name] for name in names}


def check_targets(out: Array | Mapping[str, Array], outputs: Sequence[TensorSpec], rows: int) -> dict[str, Array]:
    """The caller's arrays by the outputs' names, as of `named_outputs`, for a batch of `rows`.

    Raises:
        DeployError: an array is missing, has another shape or dtype, or cannot be written to.
    """
    named, targets = named_outputs(out, outputs), dict[str, Array]()
    for output, (name, target) in zip(outputs, named.items(), strict=False):
        shape = (rows, *output.shape)
        if not isinstance(target, np.ndarray) or (target.dtype, target.shape) != (np.dtype(output.dtype), shape):
            found = f"{target.dtype} {target.shape}" if isinstance(target, np.ndarray) else type(target).__name__
            raise DeployError(f"out for {name} is {found}: expected a numpy array, {output.dtype} {shape}")
        if not target.flags.writeable:
            raise DeployError(f"out for {name} is read-only: expected a writable array")
        targets[name] = target
    return targets


def split_batch(batch: Array, sizes: range) -> Iterator[Array]:
    """Parts of sizes the backend takes; the last repeats its images if it is too small."""
    largest = sizes[-1]
    for start in range(0, len(batch), largest):
        piece = batch[start : start + largest]
        yield piece if len(piece) >= sizes[0] else np.resize(piece, (sizes[0], *piece.shape[1:]))
