"""Copies the arrays of an HDF5 file, in a process of its own (`process.limited`); h5py and numpy, when called.

The HDF5 library opens other files that a file names, and damage can crash it. Nothing outside of the file is read.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.files.budget import budget
from wrn_deploy.process.limited import allow_memory

__all__ = ["EXPECTED", "NUMBERS", "write_arrays"]

EXPECTED = "expected an intact HDF5 file; copy it again"
# Those that come with the library: deflate, shuffle, Fletcher's sum, szip, n-bit, scale and offset; and h5py's LZF.
FILTERS = {1, 2, 3, 4, 5, 6, 32000}
NUMBERS = r"[<|][fiu][1248]"  # the types that are handed on, in numpy's notation
PART = 2**22  # elements written at once


def write_arrays(file: BinaryIO, output: BinaryIO, name: str) -> None:
    """Writes a line of JSON with each array's path, type and shape, and then their values.

    Raises:
        DamagedFile: the file is damaged.
        DeployError: an array lies in another file, or needs a filter that HDF5 does not come with.
        OverLimit: the arrays are too large or too many.
    """
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"  # loads no filters from elsewhere
    import h5py
    import numpy as np

    try:
        with h5py.File(file, "r") as opened:
            arrays = list(_datasets(opened, name))
            kinds = [_kind(dataset) for _, dataset in arrays]
            _check_sizes([dataset for _, dataset in arrays], os.fstat(file.fileno()).st_size, name)
            records = [[path, kind, dataset.shape] for (path, dataset), kind in zip(arrays, kinds, strict=True)]
            output.write(json.dumps(records).encode() + b"\n")
            for (_, dataset), kind in zip(arrays, kinds, strict=True):
                values = np.asarray(dataset[()], dtype=np.dtype(kind)).reshape(-1)
                output.writelines(values[start : start + PART].tobytes() for start in range(0, len(values), PART))
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, AttributeError, NotImplementedError) as error:
        raise DamagedFile(f"{name} is damaged or truncated ({error}): {EXPECTED}") from error


def _datasets(opened: Any, name: str) -> Iterator[tuple[str, Any]]:
    """All arrays of numbers with their paths, each once; checks how they are stored."""
    import h5py

    limits, seen = budget(), {h5py.h5o.get_info(opened.id).addr}
    waiting: list[tuple[str, Any, int]] = [("", opened, 1)]
    while waiting:
        path, group, depth = waiting.pop()
        limits.check("nesting", depth, name)
        limits.check("parts", len(seen) + len(group), name)
        for key in sorted(group):
            link = group.get(key, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise DeployError(f"{name} has a link to another file ({path}/{key}): expected all arrays in one file")
            if not isinstance(link, h5py.HardLink):
                continue  # what a soft link names is there under its own name
            item = group[key]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            if isinstance(item, h5py.Group):
                waiting.append((f"{path}/{key}", item, depth + 1))
            elif isinstance(item, h5py.Dataset) and item.dtype.kind in "fiu" and item.shape is not None:
                _check_storage(item, name)
                yield f"{path}/{key}", item


def _check_storage(dataset: Any, name: str) -> None:
    """Checks that the values are in this file, and that filters of the library itself unpack them."""
    import h5py

    how = dataset.id.get_create_plist()
    if how.get_external_count() or how.get_layout() == h5py.h5d.VIRTUAL:
        raise DeployError(
            f"{name} keeps {dataset.name!r} in other files: expected all arrays in one file; copy them into it"
        )
    filters = {how.get_filter(index)[0] for index in range(how.get_nfilters())}
    if not filters <= FILTERS:
        raise DeployError(
            f"{name} packs {dataset.name!r} with the filters {sorted(filters - FILTERS)}: expected those of HDF5 "
            "itself, such as gzip"
        )


def _kind(dataset: Any) -> str:
    """The type of the array that is handed on, little-endian."""
    kind: str = dataset.dtype.newbyteorder("<").str
    if not re.fullmatch(NUMBERS, kind):
        raise TypeError(f"{dataset.name!r} has the type {dataset.dtype}")
    return kind


def _check_sizes(datasets: list[Any], file_bytes: int, name: str) -> None:
    limits = budget()
    total = sum(dataset.size * dataset.dtype.itemsize for dataset in datasets)
    stored = sum(dataset.id.get_storage_size() for dataset in datasets)
    limits.check_inflated(total, min(stored, file_bytes), name)
    chunks = [math.prod(dataset.chunks) * dataset.dtype.itemsize for dataset in datasets if dataset.chunks]
    limits.check_inflated(max(chunks, default=0), min(stored, file_bytes), name)
    sizes = [dataset.size * dataset.dtype.itemsize for dataset in datasets]
    allow_memory(2 * max(sizes, default=0) + 2 * max(chunks, default=0))
