"""The options of a calibration, and its images, which are decoded once: all of them, or those of one shard."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.collection.ranges import split_of
from wrn_deploy.data import ImageSource, Role, open_data
from wrn_deploy.data.cached_batches import CachedBatches
from wrn_deploy.data.corrupt import MaxCorrupt, count_allowed
from wrn_deploy.data.decoding.decoders import Decoders, choose_workers
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.data.sampling.block import Block
from wrn_deploy.data.sampling.digest import image_digest
from wrn_deploy.data.sampling.subset import even_sample
from wrn_deploy.data.sources import report_notes
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.formatting import count
from wrn_deploy.pipeline.quantization.quantize import Quantization
from wrn_deploy.progress import Progress
from wrn_deploy.spec import Preprocessing

__all__ = [
    "CalibrateOptions", "CalibrationImages", "ReadImage", "UsedImages", "check_labels", "count_compared",
    "describe_images", "read_images",
]  # fmt: skip

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
COMPARED, COMPARED_PIXELS = 32, 2 * 224 * 224  # images that graphs are compared on, and pixels: fewer large ones
# The channels' extremes, which equalization evens out, settle early: with 16 images of 224x224, or 128 of 32x32.
FIRST_IMAGES, FIRST_PIXELS = 16, 128 * 32 * 32


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateOptions:
    """The images to calibrate on, and the techniques.

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
            raise UsageError(f"--percentile {self.percentile}: expected 50 to 100, such as 99.99")


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedImages:
    """The images that a table is made from.

    Attributes:
        name: of the data, without its folder.
        available: how many images the data has.
        chosen: how many of them were chosen.
        digests: of those, without the corrupt ones.
    """

    name: str
    available: int
    chosen: int
    digests: tuple[bytes, ...]

    def describe(self) -> dict[str, Any]:
        """What the table says of them; independent of their order."""
        return _describe_pixels(sorted(self.digests), self.name)


class CalibrationImages:
    """The chosen images, spread evenly over the data: the same ones in every pass, decoded once (`CachedBatches`).

    Args:
        bundle: the network.
        options: the data, and how many images to choose.
        block: the shard of the chosen images; by default all. The first images of all, which decide for all, are read
            by each shard.
    """

    def __init__(self, bundle: Bundle, options: CalibrateOptions, block: Block | None = None) -> None:
        self.options, self.block = options, block or Block()
        self.spec = bundle.spec
        self.preprocessing = bundle.spec.preprocessing
        self._opened = open_data(options.data, Role.TRAIN)
        self.available = len(self._opened)
        self.chosen = min(options.size, self.available)
        self.allowed = count_allowed(options.max_corrupt, self.chosen)  # in all shards together
        self.source = even_sample(self._opened, options.size, self.block.of(self.chosen))
        self._batches = self._decoded(self.source)
        whole = self.block.count == 1
        self._first = self._batches if whole else self._decoded(even_sample(self._opened, options.size))
        self.digests: tuple[bytes, ...] = ()

    def _decoded(self, source: ImageSource) -> CachedBatches:
        decoders = Decoders(choose_workers(self.options.workers, self.preprocessing, len(source)))
        most = self.options.max_corrupt if self.block.count == 1 else self.allowed
        return CachedBatches(Batches(source, self.preprocessing, 64, max_corrupt=most, decoders=decoders))

    def read(self, progress: Progress) -> None:
        """Decodes every image: finds corrupt ones before any other work, and computes the digests."""
        report_notes(self._opened, progress)
        self.digests = tuple(image.digest for image in read_images(self._batches, progress))
        if self.available < self.options.size:
            progress.warn(
                f"{self.source.name} has {self.available} images, fewer than --calib-size {self.options.size}"
            )

    @property
    def corrupt(self) -> tuple[str, ...]:
        """The names of the images that were left out."""
        return tuple(self._batches.corrupt)

    @property
    def used(self) -> UsedImages:
        """What was read."""
        name = Path(self.source.name).name
        return UsedImages(name=name, available=self.available, chosen=self.chosen, digests=self.digests)

    def normalized(self, advance: Callable[[int], None]) -> Iterator[Floats]:
        """Yields the images one by one, normalised, (1, 3, H, W); advances with each."""
        return _normalized(self._batches, self.preprocessing, advance)

    def some(self, advance: Callable[[int], None]) -> Iterator[Floats]:
        """The images that `split_of` puts into split 1, about half, until they have FIRST_PIXELS and are FIRST_IMAGES.

        All images if it puts none there. They are the same in every shard.
        """
        enough = max(FIRST_IMAGES, FIRST_PIXELS // (self.preprocessing.height * self.preprocessing.width))
        images = _normalized(self._first, self.preprocessing, advance)
        chosen = itertools.islice((image for image in images if split_of(image)), enough)
        first = next(chosen, None)
        return (
            _normalized(self._first, self.preprocessing, advance) if first is None else itertools.chain([first], chosen)
        )

    def first(self) -> Iterator[Floats]:
        """The first images of all shards, normalised: those that graphs are compared on."""
        images = _normalized(self._first, self.preprocessing, lambda _: None)
        return itertools.islice(images, count_compared(self.preprocessing))

    def first_pixels(self) -> Pixels:
        """The pixels of the first images of this shard, (N, height, width, 3), as many as may be among all first ones.

        Empty if the shards before it have enough, even if all images that may be corrupt are among theirs.
        """
        before = max(0, self.block.of(self.chosen).start - self.allowed)
        taken = itertools.islice(self._batches.pixels(1), max(0, count_compared(self.preprocessing) - before))
        nothing = np.zeros((0, self.preprocessing.height, self.preprocessing.width, 3), dtype=np.uint8)
        return np.concatenate([nothing, *taken])


def count_compared(preprocessing: Preprocessing) -> int:
    """How many of the first images graphs are compared on, if there are as many: COMPARED, or fewer large ones."""
    return min(COMPARED, max(1, COMPARED_PIXELS // (preprocessing.height * preprocessing.width)))


def _normalized(
    batches: CachedBatches, preprocessing: Preprocessing, advance: Callable[[int], None]
) -> Iterator[Floats]:
    for pixels in batches.pixels(1):
        yield normalize(pixels, preprocessing)
        advance(1)


class ReadImage(NamedTuple):
    """An image without its pixels; the label is negative if it has none."""

    digest: bytes
    label: int
    name: str


def read_images(batches: Batches | CachedBatches, progress: Progress) -> list[ReadImage]:
    """Reads every image: finds corrupt ones before any other work, and warns of those that were left out."""
    name, found = Path(batches.source.name).name, list[ReadImage]()
    with progress.task(f"Reading {count(len(batches), 'image')} of {name}", len(batches)) as advance:
        for batch in batches:
            found.extend(map(ReadImage, map(image_digest, batch.images), map(int, batch.labels), batch.names))
            advance(len(batch.labels))
    if batches.corrupt:
        progress.warn(f"skipped {count(len(batches.corrupt), 'corrupt image')} of {name}: {', '.join(batches.corrupt)}")
    return found


def describe_images(images: Iterable[ReadImage], source: ImageSource, *, labels: bool) -> dict[str, Any]:
    """The images of a source in a recipe, independent of their order: digests of their pixels and of their labels."""
    ordered = sorted(images)
    described = _describe_pixels([image.digest for image in ordered], Path(source.name).name)
    if labels:
        labelled = b"".join(image.digest + image.label.to_bytes(8, "little", signed=True) for image in ordered)
        described["labels_digest"] = hashlib.sha256(labelled).hexdigest()
    return described


def _describe_pixels(digests: list[bytes], name: str) -> dict[str, Any]:
    return {"data": name, "data_digest": hashlib.sha256(b"".join(digests)).hexdigest(), "images": len(digests)}


def check_labels(images: Iterable[ReadImage], classes: int, reason: str) -> None:
    """Raises DeployError if an image has no label, or one outside of the classes; the text ends with `reason`."""
    for image in images:
        if not 0 <= image.label < classes:
            found = "no label" if image.label < 0 else f"label {image.label}"
            raise DeployError(f"{image.name} has {found}: expected 0 to {classes - 1}{reason}")
