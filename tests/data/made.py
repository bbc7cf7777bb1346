"""Sources, images and preprocessing that several tests use; items that misbehave in a decoding process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from wrn_deploy.data import CorruptImage, Item, Role, open_data
from wrn_deploy.data.decoding.decoders import Decoders
from wrn_deploy.data.preprocess import Batches
from wrn_deploy.spec import Preprocessing

__all__ = [
    "PLAIN", "RESIZED", "WRITTEN", "Made", "Pixels", "be_corrupt", "blunder", "die", "encode", "labels_of",
    "process_ids", "save_image", "shade",
]  # fmt: skip

Pixels = npt.NDArray[np.uint8]
PLAIN = Preprocessing(height=32, width=32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
RESIZED = Preprocessing(height=24, width=24, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), resize=32)
WRITTEN = (
    "image_folder", "npz_file", "parquet_file", "cifar10_binary", "cifar100_binary", "cifar10_python",
    "cifar100_python", "svhn_folder", "mnist_folder", "shards",
)  # fmt: skip  # the fixtures of conftest.py, one a format


class Made:
    """A source of items made by the test; `broken` ends it with an error after the last."""

    name = "made"
    labels: tuple[str, ...] = ()
    mirror = True

    def __init__(self, loads: Sequence[Callable[[], Pixels]], broken: Exception | None = None) -> None:
        self.loads = loads
        self.broken = broken
        self.taken = 0

    def __len__(self) -> int:
        return len(self.loads)

    def items(self, order: np.random.Generator | None = None) -> Iterator[Item]:
        del order
        for index, load in enumerate(self.loads):
            self.taken += 1
            yield Item(f"image {index}", index, load)
        if self.broken is not None:
            raise self.broken


def encode(image: Pixels) -> bytes:
    """Encodes an image as PNG."""
    stream = BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def save_image(path: Path, color: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), (color, 0, 0)).save(path)
    return path


def labels_of(path: Path, role: Role = Role.TEST) -> list[tuple[str, int | None]]:
    return [(item.name, item.label) for item in open_data(str(path), role).items()]


def shade(index: int, size: int = 40) -> Pixels:
    return np.full((size, size, 3), index % 256, dtype=np.uint8)


def be_corrupt(text: str) -> Pixels:
    raise CorruptImage(text)


def die(code: int) -> Pixels:
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code)


def blunder() -> Pixels:
    raise ZeroDivisionError("a bug")


def process_ids(decoders: Decoders) -> list[int]:
    list(Batches(Made([partial(shade, 0)]), RESIZED, 1, decoders=decoders))
    assert decoders._pool is not None
    return [process._process.pid for process in decoders._pool._processes]
