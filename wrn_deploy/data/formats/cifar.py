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
from wrn_deploy.data.sampling.shuffle import buffer_capacity, shuffled
from wrn_deploy.errors import DamagedFile, DeployError

__all__ = ["NAMES", "CifarSource", "Layout", "open_source", "recognise"]

NAMES: tuple[str, ...] = ()

PIXELS = 3 * 32 * 32  # red, green and blue planes, row by row: cs.toronto.edu/~kriz/cifar.html


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The files of one version of CIFAR: records of `label_bytes` + 3072 bytes, or pickles with the two keys.

    The last of the label bytes is the class: CIFAR-100 has the coarse class before it.
    """

    classes: int
    train: tuple[str, ...]
    test: tuple[str, ...]
    names_file: str
    label_bytes: int = 0
    labels_key: str = ""
    names_key: str = ""


LAYOUTS = (
    Layout(
        classes=10,
        train=tuple(f"data_batch_{n}.bin" for n in range(1, 6)),
        test=("test_batch.bin",),
        names_file="batches.meta.txt",
        label_bytes=1,
    ),
    Layout(classes=100, train=("train.bin",), test=("test.bin",), names_file="fine_label_names.txt", label_bytes=2),
    Layout(
        classes=10,
        train=tuple(f"data_batch_{n}" for n in range(1, 6)),
        test=("test_batch",),
        names_file="batches.meta",
        labels_key="labels",
        names_key="label_names",
    ),
    Layout(
        classes=100,
        train=("train",),
        test=("test",),
        names_file="meta",
        labels_key="fine_labels",
        names_key="fine_label_names",
    ),
)


@dataclass(slots=True)
class CifarSource:
    """One split of CIFAR; the classes of CIFAR-100 are the 100 fine ones."""

    name: str
    layout: Layout
    files: list[Path]
    count: int
    labels: tuple[str, ...]
    mirror: bool = True

    def __len__(self) -> int:
        """The number of images."""
        return self.count

    def items(self, order: np.random.Generator | None = None) -> Iterator[Item]:
        """All images in the files' order, or with shuffled files and then a shuffle buffer."""
        if order is None:
            return self._stream(self.files)
        files = [self.files[index] for index in order.permutation(len(self.files))]
        return shuffled(self._stream(files), order, buffer_capacity(PIXELS))

    def _stream(self, files: list[Path]) -> Iterator[Item]:
        for file in files:
            for index, (label, planes) in enumerate(_records(file, self.layout)):
                name = f"{file.name} image {index}"
                if not 0 <= label < self.layout.classes:
                    raise DamagedFile(
                        f"{file} image {index} has label {label}: expected 0 to {self.layout.classes - 1}; the file is "
                        "damaged, download it again"
                    )
                yield Item(name, label, partial(_to_rgb, planes))


def recognise(path: Path) -> bool:
    """A folder with the files of one of the four versions."""
    try:
        return path.is_dir() and _find_layout(path) is not None
    except OSError:
        return False


def open_source(name: str, role: Role) -> ImageSource:
    """Opens the train or the test files of a CIFAR folder.

    Raises:
        DeployError: a file is missing or damaged, or a pickle is not one of plain arrays.
    """
    folder = Path(name)
    layout = _find_layout(folder)
    assert layout is not None, folder
    files = [folder / file for file in (layout.train if role is Role.TRAIN else layout.test)]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise DeployError(
            f"{folder} lacks {', '.join(missing)}: expected {', '.join(file.name for file in files)}; unpack the "
            "archive again"
        )
    return CifarSource(name, layout, files, sum(_count(file, layout) for file in files), _class_names(folder, layout))


def _find_layout(folder: Path) -> Layout | None:
    """The version whose files are there; CIFAR-100's short file names count only beside its file of class names."""
    for layout in LAYOUTS:
        has_images = any((folder / file).is_file() for file in (*layout.train, *layout.test))
        if has_images and (layout.classes == 10 or (folder / layout.names_file).is_file()):
            return layout
    return None


def _class_names(folder: Path, layout: Layout) -> tuple[str, ...]:
    path = folder / layout.names_file
    if not path.is_file():
        return ()
    if layout.label_bytes:
        names = path.read_text(encoding="latin-1").split()
    else:
        listed = read_array_pickle(path).get(layout.names_key, [])
        names = [name.decode("latin-1") if isinstance(name, bytes) else str(name) for name in listed]
    if len(names) != layout.classes:
        raise DamagedFile(f"{path} has {len(names)} class names: expected {layout.classes}; download it again")
    return tuple(names)


def _count(file: Path, layout: Layout) -> int:
    if not layout.label_bytes:
        return len(_read_arrays(file, layout)[0])
    record, size = layout.label_bytes + PIXELS, file.stat().st_size
    if size % record:
        raise DamagedFile(f"{file} has {size} bytes: expected a multiple of {record}; download it again")
    return size // record


def _records(file: Path, layout: Layout) -> Iterator[tuple[int, bytes]]:
    """Yields the class and the colour planes of each image; a pickle is in memory as a whole."""
    if layout.label_bytes:
        with file.open("rb") as stream:
            while record := stream.read(layout.label_bytes + PIXELS):
                yield record[layout.label_bytes - 1], record[layout.label_bytes :]
    else:
        labels, planes = _read_arrays(file, layout)
        yield from ((label, row.tobytes()) for label, row in zip(labels, planes, strict=True))


def _read_arrays(file: Path, layout: Layout) -> tuple[list[int], npt.NDArray[np.uint8]]:
    table = read_array_pickle(file)
    labels, planes = table.get(layout.labels_key, []), table.get("data", [])
    are_planes = isinstance(planes, np.ndarray) and planes.shape[1:] == (PIXELS,)
    are_labels = isinstance(labels, list) and all(isinstance(label, int) for label in labels)
    if not are_planes or not are_labels or len(labels) != len(planes):
        raise DamagedFile(
            f"{file} holds {', '.join(table) or 'nothing'}: expected `data`, uint8 (N, {PIXELS}), and "
            f"`{layout.labels_key}`, a list of N whole numbers; download it again"
        )
    return labels, planes


def _to_rgb(planes: bytes) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(np.frombuffer(planes, dtype=np.uint8).reshape(3, 32, 32).transpose(1, 2, 0))
