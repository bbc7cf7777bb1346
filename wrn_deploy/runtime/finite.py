"""Checks that a network's inputs and outputs are finite numbers, and says which are not; numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.backend import Array

__all__ = ["check_finite"]


def check_finite(arrays: Mapping[str, Array], *, subject: str, remedy: str, names: Sequence[str] = ()) -> None:
    """Checks every array of a floating-point type.

    Args:
        arrays: (N, ...) each, by name.
        subject: who has them, with the verb, as in "onnxruntime int8 gives".
        remedy: what the user can do, as in "run another precision".
        names: of the N images; empty: their numbers are given.

    Raises:
        DeployError: an array has NaN or infinite values; the text counts them and names the first image.
    """
    for name, values in arrays.items():
        if values.dtype.kind != "f" or (finite := np.isfinite(values)).all():
            continue
        rows = np.flatnonzero(~finite.reshape(len(values), -1).all(axis=1))
        first = names[rows[0]] if names else f"image {rows[0]}, counted from 0"
        raise DeployError(
            f"{subject} NaN or infinite {name}: {finite.size - np.count_nonzero(finite)} of {finite.size} values, in "
            f"{len(rows)} of {len(values)} images, the first of which is {first}; expected finite ones: {remedy}"
        )
