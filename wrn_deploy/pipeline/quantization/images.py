"""The images of a calibration, and how it was asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.collection.ranges import half_of
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.corrupt import MaxCorrupt
from wrn_deploy.data.decoding.decoders import Decoders, choose_workers
from wrn_deploy.data.preprocess import Batches, as_input, normalize
from wrn_deploy.data.sampling.digest import DataDigest
from wrn_deploy.data.sampling.subset import EvenSample
from wrn_deploy.errors import UsageError
from wrn_deploy.pipeline.quantization.quantize import Quantization
from wrn_deploy.progress import Progress

__all__ = ["CalibrateOptions", "CalibrationImages", "counted"]


@dataclass(frozen=True, slots=True)
class CalibrateOptions:
    """What to calibrate on, and how; `percentile` matters for that method alone."""

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
    """The chosen images: the same ones, spread evenly over the data, every time they are gone through."""

    def __init__(self, bundle: Bundle, options: CalibrateOptions) -> None:
        self.options = options
        self.spec = bundle.spec
        self.how = bundle.spec.preprocessing
        source = open_data(options.data, Role.TRAIN)
        self.available = len(source)
        self.source = EvenSample(source, options.size)
        self.decoders = Decoders(choose_workers(options.workers, self.how, len(self.source)))
        self.digest = ""
        self.digests: tuple[bytes, ...] = ()
        self.count = 0

    def read(self, progress: Progress) -> None:
        """Reads every image once: finds corrupt ones before any work is done, and makes the digest."""
        digest = DataDigest()
        batches = self._batches(64)
        with progress.task(f"Reading {len(batches)} calibration images", len(batches)) as advance:
            for batch in batches:
                digest.add(batch.images)
                self.count += len(batch.images)
                advance(len(batch.images))
        self.digest, self.digests = digest.hexdigest(), digest.digests
        if self.available < self.options.size:
            progress.warn(
                f"{self.source.name} has {self.available} images, fewer than --calib-size {self.options.size}"
            )
        if batches.corrupt:
            progress.warn(f"left out {len(batches.corrupt)} corrupt calibration images: {', '.join(batches.corrupt)}")

    def describe(self) -> dict[str, Any]:
        """What makes a calibration the same: the images themselves, the method and its options."""
        chosen = {"percentile": self.options.percentile} if self.options.method == "percentile" else {}
        return {
            "data": Path(self.source.name).name,
            "data_digest": self.digest,
            "images": self.count,
            "method": self.options.method,
            "equalize": self.options.equalize,
            "preprocessing": dataclasses.asdict(self.how),
            **chosen,
        }

    def normalized(self, size: int) -> Iterator[npt.NDArray[np.float32]]:
        """The images in batches of `size`, (N, 3, H, W)."""
        return (normalize(batch.images, self.how) for batch in self._batches(size))

    def inputs(self, size: int) -> Iterator[npt.NDArray[np.uint8] | npt.NDArray[np.float32]]:
        """The images in batches of `size`, as the bundle's graphs take them."""
        return (as_input(batch.images, self.spec) for batch in self._batches(size))

    def half(self, size: int) -> Iterator[npt.NDArray[np.float32]]:
        """About half of them, one at a time; all that `half_of` puts into the second half, if there are any."""
        del size
        chosen = False
        for image in self.normalized(1):
            if half_of(image):
                chosen = True
                yield image
        if not chosen:
            yield from self.normalized(1)

    def first(self, count: int) -> npt.NDArray[np.float32]:
        """So many of them, (count, 3, H, W)."""
        batches = self._batches(count)
        batches.limit = count
        batch = next(iter(batches))
        return normalize(batch.images, self.how)

    def _batches(self, size: int) -> Batches:
        return Batches(self.source, self.how, size, max_corrupt=self.options.max_corrupt, decoders=self.decoders)


def counted(
    batches: Callable[[int], Iterator[npt.NDArray[np.float32]]], advance: Callable[[int], None]
) -> Callable[[int], Iterator[npt.NDArray[np.float32]]]:
    """The same batches, telling of each how many images it had."""

    def told(size: int) -> Iterator[npt.NDArray[np.float32]]:
        for batch in batches(size):
            yield batch
            advance(len(batch))

    return told
