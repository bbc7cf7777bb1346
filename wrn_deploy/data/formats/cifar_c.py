"""CIFAR-10-C and CIFAR-100-C: one .npy for each corruption, five severities one after another, and labels.npy."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from wrn_deploy.data import ImageSource, Item, Role, check_label
from wrn_deploy.data.containers.listing import check_inside
from wrn_deploy.data.containers.npy_header import check_array, read_npy_header
from wrn_deploy.data.sources import StreamPart, stream_source
from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.files.damage import name_damage
from wrn_deploy.files.regular import open_regular

__all__ = ["open_source", "recognise"]

LABELS = "labels.npy"
SEVERITIES = 5  # Hendrycks and Dietterich, arxiv.org/abs/1903.12261: 10,000 images each, from 1, the mildest, to 5
SHAPE = (32, 32, 3)
SPLIT = re.compile(r"(?:([a-z_]+)-)?([1-5])|([a-z_]+)")


def recognise(path: Path) -> bool:
    """Recognises a folder with labels.npy and another .npy, and a .npy with labels.npy beside it."""
    if path.is_dir():
        return (path / LABELS).is_file() and bool(_corruptions(path))
    with open_regular(path) as file:
        return file.read(6) == b"\x93NUMPY" and path.name != LABELS and (path.parent / LABELS).is_file()


def open_source(name: str, _role: Role, split: str | None) -> ImageSource:
    """Opens one corruption and severity, as in `CIFAR-10-C:fog-3`, or all five or all corruptions; a note says which.

    Raises:
        DeployError: there is no such corruption, or a file is damaged or has another shape.
    """
    path = Path(name)
    folder = path if path.is_dir() else path.parent
    there = _corruptions(folder) if path.is_dir() else {path.stem: path}
    files, severity = _choose(there, split, name)
    if path.is_dir():
        check_inside(folder, [*files, folder / LABELS])
    labels = _read_labels(folder / LABELS)
    parts = [_part(file, labels, severity, folder / LABELS) for file in files]
    shown = files[0].stem if len(files) == 1 else f"all {len(files)} corruptions"
    example = f"{name}:{files[0].stem}-3" if path.is_dir() else f"{name}:3"
    note = f"{name}: reads {shown} at all {SEVERITIES} severities; choose one, such as {example}"
    notes = (note,) if severity is None else ()
    return stream_source(name, parts, notes=notes)


def _corruptions(folder: Path) -> dict[str, Path]:
    return {file.stem: file for file in sorted(folder.glob("*.npy")) if file.name != LABELS and file.name[0] != "."}


def _choose(there: dict[str, Path], split: str | None, name: str) -> tuple[list[Path], int | None]:
    """Returns the files of the corruptions, and the severity; None: all."""
    if split is None:
        return list(there.values()), None
    found = SPLIT.fullmatch(split.lower())
    corruption = found and (found[1] or found[3])
    if found is None or (corruption is not None and corruption not in there):
        raise DeployError(
            f"{name} has no split {split!r}: expected a corruption, a severity from 1 to {SEVERITIES}, or both, such "
            f"as {min(there)}-3; there are {', '.join(there)}"
        )
    return [there[corruption]] if corruption else list(there.values()), int(found[2]) if found[2] else None


def _part(file: Path, labels: npt.NDArray[np.int64], severity: int | None, label_file: Path) -> StreamPart:
    with name_damage(file, ".npy"), open_regular(file) as stream:
        shape, dtype = _read_header(stream, file)
    if dtype != np.uint8 or shape[1:] != SHAPE:
        raise DeployError(f"{file} is a {dtype} array {shape}: expected uint8 (N, 32, 32, 3)")
    if len(labels) != shape[0] or shape[0] % SEVERITIES:
        raise DamagedFile(
            f"{file} has {shape[0]} images and {label_file} {len(labels)} labels: expected as many, for "
            f"{SEVERITIES} severities; download both again"
        )
    count = shape[0] if severity is None else shape[0] // SEVERITIES
    start = 0 if severity is None else (severity - 1) * count
    return StreamPart(count, count * math.prod(SHAPE), partial(_items, file, start, labels[start : start + count]))


def _items(file: Path, start: int, labels: npt.NDArray[np.int64]) -> Iterator[Item]:
    size = math.prod(SHAPE)
    with name_damage(file, ".npy"), open_regular(file) as stream:
        _read_header(stream, file)
        stream.seek(start * size, 1)
        for index, label in enumerate(labels, start):
            pixels = stream.read(size)
            if len(pixels) < size:
                raise EOFError(f"it ends in image {index}")
            yield Item(f"{file.name} image {index}", int(label), partial(_to_rgb, pixels))


def _read_labels(file: Path) -> npt.NDArray[np.int64]:
    with name_damage(file, ".npy"), open_regular(file) as stream:
        shape, dtype = _read_header(stream, file)
        if len(shape) != 1 or dtype.kind not in "iu":
            raise DeployError(f"{file} is a {dtype} array {shape}: expected integers (N,)")
        content = stream.read(check_array(shape, dtype, os.fstat(stream.fileno()).st_size, file))
        labels = np.frombuffer(content, dtype=dtype).reshape(shape)
    for index in (labels.argmin(), labels.argmax()) if len(labels) else ():
        check_label(int(labels[index]), f"{file} entry {index}")
    return labels.astype(np.int64)


def _read_header(stream: IO[bytes], file: Path) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    shape, is_column_major, dtype = read_npy_header(stream)
    if is_column_major and len(shape) > 1:
        raise DeployError(f"{file} is in Fortran order: expected C order; use np.ascontiguousarray")
    return shape, dtype


def _to_rgb(pixels: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(pixels, dtype=np.uint8).reshape(SHAPE)
