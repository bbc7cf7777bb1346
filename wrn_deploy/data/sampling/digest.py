"""Computes digests of decoded images, which identify the data of a number; the standard library and numpy only."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

__all__ = ["DataDigest", "image_digest"]


def image_digest(image: npt.NDArray[np.uint8]) -> bytes:
    """Returns the sha256 over the shape (three little-endian int64) and the pixels of a uint8 HWC image."""
    assert image.dtype == np.uint8, image.dtype
    assert image.ndim == 3, image.shape
    digest = hashlib.sha256(np.array(image.shape, dtype="<i8").tobytes())
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()


class DataDigest:
    """The digest of a set of images, independent of their order and the batch size.

    It is the sha256 over the images' sorted digests; an image that occurs twice counts twice. Names and labels are not
    part of it. Holds 32 bytes per image.
    """

    def __init__(self) -> None:
        self._digests: list[bytes] = []

    def add(self, images: npt.NDArray[np.uint8]) -> None:
        """Adds a batch: uint8, NHWC."""
        self._digests.extend(image_digest(image) for image in images)

    def __len__(self) -> int:
        """The number of images added so far."""
        return len(self._digests)

    @property
    def digests(self) -> tuple[bytes, ...]:
        """The digests of the images added so far, in their order."""
        return tuple(self._digests)

    def hexdigest(self) -> str:
        """Returns the digest of the images added so far; more can be added afterwards."""
        return hashlib.sha256(b"".join(sorted(self._digests))).hexdigest()
