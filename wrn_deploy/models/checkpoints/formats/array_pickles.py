"""NumPy arrays in files of `torch.save`, as data: numpy's own unpickling trusts the file, and is not used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from wrn_deploy.errors import DamagedFile
from wrn_deploy.models.checkpoints.formats.pickled import read_pickled

__all__ = ["read_arrays"]


class _PickledDtype:
    """Stands for numpy.dtype: keeps its code and byte order."""

    def __init__(self, code: str = "", *_: object) -> None:
        self.text = str(code)

    def __setstate__(self, state: tuple[object, ...]) -> None:
        order = state[1]
        self.text = f"{order if order in ('<', '>') else '='}{self.text}"


class _PickledArray:
    """Stands for numpy.ndarray, and for the function that makes an empty one to be filled.

    `values` is None for anything but plain numbers: texts, objects, records. `left` is what all arrays of a file may
    still hold: a pickle can name the same bytes many times, and makes them anew each time.
    """

    left: ClassVar[int] = 0
    file: ClassVar[Path]

    def __init__(self, *_: object) -> None:
        self.values: npt.NDArray[Any] | None = None

    def __setstate__(self, state: tuple[object, tuple[int, ...], object, bool, object]) -> None:
        _, shape, dtype, column_major, content = state
        if not isinstance(dtype, _PickledDtype) or not re.fullmatch(r"[<>=][fiu][1248]", dtype.text):
            return
        if not isinstance(content, bytes):
            raise TypeError("an array without content")
        type(self).left -= len(content)
        if self.left < 0:
            raise DamagedFile(
                f"{self.file} is damaged: its arrays hold more bytes than it has: expected an intact file"
            )
        values = np.frombuffer(content, dtype=dtype.text).reshape(shape, order="F" if column_major else "C")
        self.values = values.astype(values.dtype.newbyteorder("="))


RECONSTRUCT = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")  # of numpy 1 and 2


def read_arrays(file: Path) -> tuple[Any, tuple[str, ...]]:
    """The contents of the file as `read_pickled`, with NumPy's arrays of numbers as tensors.

    Raises:
        DeployError: as `read_pickled`.
    """
    array = type("PickledArray", (_PickledArray,), {"left": file.stat().st_size, "file": file})
    stand_ins = {"numpy.dtype": _PickledDtype, **dict.fromkeys(("numpy.ndarray", *RECONSTRUCT), array)}
    loaded, foreign = read_pickled(file, stand_ins)
    return _as_tensors(loaded), tuple(name for name in foreign if name not in stand_ins)


def _as_tensors(value: Any) -> Any:
    if isinstance(value, _PickledArray) and value.values is not None:
        return torch.from_numpy(value.values)
    return {key: _as_tensors(item) for key, item in value.items()} if isinstance(value, Mapping) else value
