"""Reads pickled dictionaries of uint8 arrays and plain values, and refuses other pickles, which can run code."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.files.budget import budget
from wrn_deploy.files.damage import DAMAGE
from wrn_deploy.files.formats.pickle_check import check_pickle
from wrn_deploy.files.regular import open_regular

__all__ = ["read_array_pickle"]


class _PickledDtype:
    """Stands for numpy.dtype; uint8 has nothing else to restore."""

    def __init__(self, code: str | bytes, *_: object) -> None:
        if code not in ("u1", b"u1"):
            raise ValueError(f"an array of type {code!r}, not u1")

    def __setstate__(self, _state: object) -> None:
        """Restores nothing."""


class _PickledArray:
    """Stands for numpy.ndarray, and for the function that makes an empty one to be filled.

    numpy's own `__setstate__` trusts the types and flags in the file, and a damaged one can crash Python.
    """

    def __init__(self, *_: object) -> None:
        self.values: npt.NDArray[np.uint8] = np.zeros(0, dtype=np.uint8)

    def __setstate__(self, state: tuple[int, tuple[int, ...], _PickledDtype, bool, bytes]) -> None:
        _, shape, dtype, column_major, content = state
        if not isinstance(dtype, _PickledDtype) or not isinstance(content, bytes):
            raise TypeError("an array without type or content")
        self.values = np.frombuffer(content, dtype=np.uint8).reshape(shape, order="F" if column_major else "C")


def _encode(text: str, encoding: str) -> bytes:
    """Stands for `_codecs.encode`, by which Python 3 writes bytes in the old protocols."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"a text in {encoding!r}, not latin1")
    return text.encode("latin-1")


def _no_bytes() -> bytes:
    """Stands for `bytes`, by which it writes none; it takes no size."""
    return b""


def _from_buffer(content: object, dtype: _PickledDtype, shape: tuple[int, ...], order: str) -> _PickledArray:
    """Stands for numpy's function for arrays in protocol 5."""
    if not isinstance(content, bytes | bytearray):  # of a number, `bytes` would make that many zeros
        raise TypeError("an array without content")
    array = _PickledArray()
    array.__setstate__((1, shape, dtype, order == "F", bytes(content)))
    return array


STAND_INS: dict[tuple[str, str], Callable[..., object]] = {
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
    ("builtins", "bytes"): _no_bytes,
    ("numpy", "dtype"): _PickledDtype,
    ("numpy", "ndarray"): _PickledArray,
    ("numpy.core.multiarray", "_reconstruct"): _PickledArray,  # numpy 1
    ("numpy._core.multiarray", "_reconstruct"): _PickledArray,  # numpy 2
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,  # protocol 5
}


class _ArrayUnpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, path: Path) -> None:
        super().__init__(file, encoding="bytes")
        self._path = path

    def find_class(self, module: str, name: str) -> Callable[..., object]:
        if (module, name) not in STAND_INS:
            raise DeployError(
                f"{self._path} refers to {module}.{name}, which was not run: expected a pickle of numpy arrays, lists "
                "and strings; do not trust this file, and download the data again from its source"
            )
        return STAND_INS[module, name]


def read_array_pickle(path: Path) -> dict[str, Any]:
    """Reads the dictionary in a pickle: keys as text, arrays as uint8, other strings of Python 2 as bytes.

    Raises:
        DeployError: it is damaged, not a dictionary, or refers to anything but numpy's arrays, none of which is run.
        OverLimit: it is larger or nested deeper than the budget allows.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            budget().check("memory_bytes", size, path)
            check_pickle(file, size, path)
            file.seek(0)
            table = _ArrayUnpickler(file, path).load()
    except DAMAGE as error:
        raise DamagedFile(
            f"{path} is a damaged pickle ({error}): expected an intact file; download it again"
        ) from error
    if not isinstance(table, dict):
        raise DamagedFile(
            f"{path} contains a {type(table).__name__}: expected a dictionary of arrays; download it again"
        )
    return {
        key.decode("latin-1") if isinstance(key, bytes) else str(key): (
            value.values if isinstance(value, _PickledArray) else value
        )
        for key, value in table.items()
    }
