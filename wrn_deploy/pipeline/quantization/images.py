"""The options of a calibration, and its images, which are decoded once."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.collection.ranges import split_of
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.cached_batches import CachedBatches
from wrn_deploy.data.corrupt import MaxCorrupt
from wrn_deploy.data.decoding.decoders import Decoders, choose_workers
from wrn_deploy.data.preprocess import Batches, as_input, normalize
from wrn_deploy.data.sampling.digest import DataDigest
from wrn_deploy.data.sampling.subset import even_sample
from wrn_deploy.errors import UsageError
from wrn_deploy.pipeline.quantization.quantize import Quantization
from wrn_deploy.progress import Progress

__all__ = ["CalibrateOptions", "CalibrationImages"]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateOptions:
    """What to calibrate on, and how.

    Attributes:
        data: real images; labels are not needed.
        size: the number of images, spread evenly over the data.
        method: a file of `calib/methods`.
        percentile: 50 to 100; only the method `percentile` uses it.
        equalize: equalize the channels' ranges first.
        quantization: how the int8 graphs are written from the table.
        threads: CPU threads (None: one per core).
        max_corrupt: how many corrupt images may be left out.
        workers: decoding processes (None: one per core where images are resized).
    """

    data: str
    size: int = 256
    method: str = "mse"
    percentile: float = 99.99
    equalize: bool = True
    quantization: Quantization = field(default_factory=Quantization)
    threads: int | None = None
    max_corrupt: MaxCorrupt = 0
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UsageError(f"--calib-size {self.size}: expected at least 1 image")
        if not 50.0 <= self.percentile <= 100.0:
            raise UsageError(f"--percentile {self.percentile}: expected 50 to 100, as in 99.99")


class CalibrationImages:
    """The chosen images, spread evenly over the data: the same ones in every pass, decoded once (`CachedBatches`)."""

    def __init__(self, bundle: Bundle, options: CalibrateOptions) -> None:
        self.options = options
        self.spec = bundle.spec
        self.preprocessing = bundle.spec.preprocessing
        source = open_data(options.data, Role.TRAIN)
        self.available = len(source)
        self.source = even_sample(source, options.size)
        decoders = Decoders(choose_workers(options.workers, self.preprocessing, len(self.source)))
        self._batches = CachedBatches(
            Batches(self.source, self.preprocessing, 64, max_corrupt=options.max_corrupt, decoders=decoders)
        )
        self.digest = ""
        self.digests: tuple[bytes, ...] = ()
        self.count = 0

    def read(self, progress: Progress) -> None:
        """Decodes every image: finds corrupt ones before any other work, and computes the digest."""
        digest = DataDigest()
        with progress.task(f"Reading {len(self._batches)} calibration images", len(self._batches)) as advance:
            for batch in self._batches:
                digest.add(batch.images)
                advance(len(batch.images))
        self.count, self.digest, self.digests = len(digest), digest.hexdigest(), digest.digests
        if self.available < self.options.size:
            progress.warn(
                f"{self.source.name} has {self.available} images, fewer than --calib-size {self.options.size}"
            )
        corrupt = self._batches.corrupt
        if corrupt:
            progress.warn(f"left out {len(corrupt)} corrupt calibration images: {', '.join(corrupt)}")

    def describe(self) -> dict[str, Any]:
        """Everything that the table depends on: the images themselves, the method and its options."""
        chosen = {"percentile": self.options.percentile} if self.options.method == "percentile" else {}
        return {
            "data": Path(self.source.name).name,
            "data_digest": self.digest,
            "images": self.count,
            "method": self.options.method,
            "equalize": self.options.equalize,
            "preprocessing": dataclasses.asdict(self.preprocessing),
            **chosen,
        }

    def normalized(self) -> Iterator[Floats]:
        """The images one by one, normalised, (1, 3, H, W)."""
        return (normalize(pixels, self.preprocessing) for pixels in self._batches.pixels(1))

    def first_split(self) -> Iterator[Floats]:
        """The images that `split_of` puts into split 1, about half of them; all images if it puts none there."""
        chosen = (image for image in self.normalized() if split_of(image))
        first = next(chosen, None)
        return self.normalized() if first is None else itertools.chain([first], chosen)

    def first(self, count: int) -> Floats:
        """The first `count` images, normalised, (count, 3, H, W)."""
        return normalize(np.concatenate([*itertools.islice(self._batches.pixels(1), count)]), self.preprocessing)

    def inputs(self, size: int) -> Iterator[npt.NDArray[np.uint8] | Floats]:
        """The images in batches of at most `size`, as the bundle's graphs take them: pixels, or normalised."""
        return (as_input(pixels, self.spec) for pixels in self._batches.pixels(size))
