"""Batches that are decoded once: their pixels stay in memory, up to a stated bound; numpy only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from wrn_deploy.data import ImageSource
from wrn_deploy.data.preprocess import Batch, Batches
from wrn_deploy.spec import Preprocessing

__all__ = ["CACHE_BYTES", "CachedBatches", "count_cached"]

CACHE_BYTES = 512 * 2**20  # of uint8 pixels: 3,566 images of 224x224, or 174,762 of 32x32


class CachedBatches:
    """The same batches in every pass; the first complete pass keeps their pixels, and later passes decode nothing.

    A source whose pixels take more than CACHE_BYTES is decoded again in each pass, in constant memory. The batches are
    the same either way, bit for bit.
    """

    def __init__(self, batches: Batches) -> None:
        assert batches.order is None, "a random order would change in each pass"
        self._batches = batches
        self._cached: list[Batch] | None = None

    @property
    def source(self) -> ImageSource:
        """Where the images come from."""
        return self._batches.source

    @property
    def preprocessing(self) -> Preprocessing:
        """How to normalize the pixels."""
        return self._batches.preprocessing

    @property
    def corrupt(self) -> list[str]:
        """The names of the images that the last decoding pass left out."""
        return self._batches.corrupt

    def __len__(self) -> int:
        """The number of images, if none is corrupt."""
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        """Yields the batches.

        Raises:
            CorruptImage: more images are corrupt than are allowed.
            DeployError: the source gives no readable image.
        """
        if self._cached is not None:
            yield from self._cached
            return
        fits = len(self) <= count_cached(self.preprocessing)
        kept: list[Batch] = []
        for batch in self._batches:
            if fits:
                kept.append(batch)
            yield batch
        if fits:
            self._cached = kept

    def pixels(self, size: int) -> Iterator[npt.NDArray[np.uint8]]:
        """Yields the images without labels, (N, height, width, 3), N at most `size`."""
        for batch in self:
            for start in range(0, len(batch.images), size):
                yield batch.images[start : start + size]


def count_cached(preprocessing: Preprocessing) -> int:
    """How many images fit into CACHE_BYTES."""
    return CACHE_BYTES // (3 * preprocessing.height * preprocessing.width)
