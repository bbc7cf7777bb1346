"""A source of items that a test makes, and what they do in a process that decodes them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from wrn_deploy.data import CorruptImage, Item
from wrn_deploy.data.decoding.decoders import Decoders
from wrn_deploy.data.preprocess import Batches
from wrn_deploy.spec import Preprocessing

__all__ = ["HOW", "Made", "be_corrupt", "blunder", "die", "process_ids", "shade"]

HOW = Preprocessing(height=24, width=24, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), resize=32)


class Made:
    """A source of items made by the test; `broken` ends it with an error after the last."""

    name = "made"
    labels: tuple[str, ...] = ()
    mirror = True

    def __init__(self, loads: Sequence[Callable[[], npt.NDArray[np.uint8]]], broken: Exception | None = None) -> None:
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


def shade(index: int, size: int = 40) -> npt.NDArray[np.uint8]:
    return np.full((size, size, 3), index % 256, dtype=np.uint8)


def be_corrupt(text: str) -> npt.NDArray[np.uint8]:
    raise CorruptImage(text)


def die(code: int) -> npt.NDArray[np.uint8]:
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code)


def blunder() -> npt.NDArray[np.uint8]:
    raise ZeroDivisionError("a bug")


def process_ids(decoders: Decoders) -> list[int]:
    list(Batches(Made([partial(shade, 0)]), HOW, 1, decoders=decoders))
    assert decoders._pool is not None
    return [one._process.pid for one in decoders._pool._processes]
