"""CIFAR-10 and CIFAR-100 as published on their site, in the binary and the Python version; numpy only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wrn_deploy.data import ImageSource, Item, Role
from wrn_deploy.data.containers.array_pickle import read_array_pickle
from wrn_deploy.data.containers.listing import check_inside
from wrn_deploy.data.sources import StreamPart, stream_source
from wrn_deploy.data.splits import choose_role
from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.files.regular import open_regular

__all__ = ["PLACES", "open_source", "recognise"]

PLACES = ("cifar-10-batches-py", "cifar-100-python", "cifar-10-batches-bin", "cifar-100-binary")  # torchvision's root

NAMES_BYTES = 2**16  # 100 names take a thousand
PIXELS = 3 * 32 * 32  # red, green and blue planes, row by row: cs.toronto.edu/~kriz/cifar.html


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    """The files of one version of CIFAR: records of `label_bytes` + 3072 bytes, or pickles with `{key}s` as labels.

    The last of the label bytes is the class: CIFAR-100 has the coarse class before it.
    """

    classes: int
    train: tuple[str, ...]
    test: str
    names_file: str
    label_bytes: int = 0
    key: str = ""


BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
VERSIONS = (
    _Version(
        classes=10, train=tuple(f"{name}.bin" for name in BATCHES), test="test_batch.bin",
        names_file="batches.meta.txt", label_bytes=1,
    ),
    _Version(classes=100, train=("train.bin",), test="test.bin", names_file="fine_label_names.txt", label_bytes=2),
    _Version(classes=10, train=BATCHES, test="test_batch", names_file="batches.meta", key="label"),
    _Version(classes=100, train=("train",), test="test", names_file="meta", key="fine_label"),
)  # fmt: skip


def recognise(path: Path) -> bool:
    """Recognises a folder with the files of one of the four versions."""
    return path.is_dir() and _find_version(path) is not None


def open_source(name: str, role: Role, split: str | None) -> ImageSource:
    """Opens the train or the test files of a CIFAR folder; the classes of CIFAR-100 are the 100 fine ones.

    Raises:
        DeployError: a file is missing or damaged, or a pickle is not one of plain arrays.
    """
    folder, role = Path(name), choose_role(role, split, name)
    version = _find_version(folder)
    assert version is not None, folder
    files = [folder / file for file in (version.train if role is Role.TRAIN else (version.test,))]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise DeployError(
            f"{folder} lacks {', '.join(missing)}: expected {', '.join(file.name for file in files)}; unpack the "
            "archive again"
        )
    check_inside(folder, [*files, folder / version.names_file])
    counts = [_count(file, version) for file in files]
    parts = [StreamPart(n, n * PIXELS, partial(_items, file, version)) for file, n in zip(files, counts, strict=True)]
    return stream_source(name, parts, labels=_class_names(folder, version))


def _items(file: Path, version: _Version) -> Iterator[Item]:
    for index, (label, planes) in enumerate(_records(file, version)):
        if not 0 <= label < version.classes:
            raise DamagedFile(
                f"{file} image {index} has label {label}: expected 0 to {version.classes - 1}; the file is damaged, "
                "download it again"
            )
        yield Item(f"{file.name} image {index}", label, partial(_to_rgb, planes))


def _find_version(folder: Path) -> _Version | None:
    """Returns the version whose files exist; CIFAR-100's short file names count only beside its file of class names."""
    for version in VERSIONS:
        has_images = any((folder / file).is_file() for file in (*version.train, version.test))
        if has_images and (version.classes == 10 or (folder / version.names_file).is_file()):
            return version
    return None


def _class_names(folder: Path, version: _Version) -> tuple[str, ...]:
    path = folder / version.names_file
    if not path.is_file():
        return ()
    if version.label_bytes:
        with open_regular(path) as stream:
            names = stream.read(NAMES_BYTES).decode("latin-1").split()
    else:
        listed = read_array_pickle(path).get(f"{version.key}_names", [])
        names = [name.decode("latin-1") if isinstance(name, bytes) else str(name) for name in listed]
    if len(names) != version.classes:
        raise DamagedFile(f"{path} has {len(names)} class names: expected {version.classes}; download it again")
    return tuple(names)


def _count(file: Path, version: _Version) -> int:
    if not version.label_bytes:
        return len(_read_arrays(file, version)[0])
    record, size = version.label_bytes + PIXELS, file.stat().st_size
    if size % record:
        raise DamagedFile(f"{file} has {size} bytes: expected a multiple of {record}; download it again")
    return size // record


def _records(file: Path, version: _Version) -> Iterator[tuple[int, bytes]]:
    """Yields the class and the colour planes of each image; a pickle is in memory as a whole."""
    if version.label_bytes:
        with open_regular(file) as stream:
            while record := stream.read(version.label_bytes + PIXELS):
                yield record[version.label_bytes - 1], record[version.label_bytes :]
    else:
        labels, planes = _read_arrays(file, version)
        yield from ((label, row.tobytes()) for label, row in zip(labels, planes, strict=True))


def _read_arrays(file: Path, version: _Version) -> tuple[list[int], npt.NDArray[np.uint8]]:
    table = read_array_pickle(file)
    labels, planes = table.get(f"{version.key}s", []), table.get("data", [])
    are_planes = isinstance(planes, np.ndarray) and planes.shape[1:] == (PIXELS,)
    are_labels = isinstance(labels, list) and all(isinstance(label, int) for label in labels)
    if not are_planes or not are_labels or len(labels) != len(planes):
        raise DamagedFile(
            f"{file} contains {', '.join(table) or 'nothing'}: expected `data`, uint8 (N, {PIXELS}), and "
            f"`{version.key}s`, a list of N integers; download it again"
        )
    return labels, planes


def _to_rgb(planes: bytes) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(np.frombuffer(planes, dtype=np.uint8).reshape(3, 32, 32).transpose(1, 2, 0))
