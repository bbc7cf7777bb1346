"""The reference row's logits in a file, which the other candidates read while they answer: none are sent or kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.backend import Array

__all__ = ["LogitErrors", "LogitFile", "Logits", "open_logits"]


@dataclass(frozen=True, slots=True)
class LogitFile:
    """A file of logits, float32, image after image; `write` says who writes it: the reference, before all others."""

    path: Path
    write: bool


@dataclass(frozen=True, slots=True)
class LogitErrors:
    """The largest and the mean absolute difference of a logit from the reference's, over all images and classes."""

    largest: float
    mean: float


class Logits:
    """Takes a candidate's logits batch by batch; what it holds does not grow with the images.

    A file is read and not mapped: mapped pages would count as memory of the candidate's process.
    """

    def __init__(self, file: IO[bytes] | None, *, write: bool) -> None:
        self._file, self._write = file, write
        self._largest, self._sum, self._count = 0.0, 0.0, 0

    def take(self, logits: Array) -> None:
        """The next images', (N, classes): written, or compared with the reference's.

        Raises:
            DeployError: the reference gave fewer, or the disk is full.
        """
        if self._file is None:
            return
        own = np.ascontiguousarray(logits, dtype="<f4")
        if self._write:
            try:
                self._file.write(own.data)
            except OSError as error:
                raise DeployError(
                    f"the reference's logits cannot be kept ({error.strerror}): free room for {own.nbytes} bytes a "
                    f"batch in {self._file.name}, or measure fewer images with --limit"
                ) from error
            return
        theirs = np.frombuffer(self._file.read(own.nbytes), dtype="<f4")
        if theirs.size != own.size:
            raise DeployError("the reference answered fewer images: do not change the data while it is measured")
        differences = np.abs(own.reshape(-1).astype(np.float64) - theirs)
        self._largest = max(self._largest, float(differences.max()))
        self._sum += float(differences.sum())
        self._count += differences.size

    def errors(self) -> LogitErrors | None:
        """None where nothing was compared."""
        return LogitErrors(self._largest, self._sum / self._count) if self._count else None


@contextlib.contextmanager
def open_logits(kept: LogitFile | None) -> Iterator[Logits]:
    """To write or to compare; None, or a file that the reference did not write: neither."""
    if kept is None or not (kept.write or kept.path.exists()):
        yield Logits(None, write=False)
        return
    with kept.path.open("wb" if kept.write else "rb") as file:
        yield Logits(file, write=kept.write)
