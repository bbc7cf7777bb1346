"""The options of a calibration, and its images, which are decoded once; compares quantized graphs with fp32 on some."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wrn_deploy.bench.measuring.accuracy import best_classes
from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.collection.ranges import split_of
from wrn_deploy.data import ImageSource, Role, open_data
from wrn_deploy.data.cached_batches import CachedBatches
from wrn_deploy.data.corrupt import MaxCorrupt
from wrn_deploy.data.decoding.decoders import Decoders, choose_workers
from wrn_deploy.data.preprocess import Batches, as_input, normalize
from wrn_deploy.data.sampling.digest import image_digest
from wrn_deploy.data.sampling.subset import even_sample
from wrn_deploy.data.sources import report_notes
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.formatting import count
from wrn_deploy.pipeline.quantization.quantize import Quantization
from wrn_deploy.progress import Progress
from wrn_deploy.runtime.finite import check_finite
from wrn_deploy.runtime.sessions import infer_all, open_session

__all__ = ["CalibrateOptions", "CalibrationImages", "ReadImage", "check_labels", "describe_images", "read_images"]

Floats = npt.NDArray[np.float32]
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


class CalibrationImages:
    """The chosen images, spread evenly over the data: the same ones in every pass, decoded once (`CachedBatches`)."""

    def __init__(self, bundle: Bundle, options: CalibrateOptions) -> None:
        self.options = options
        self.spec = bundle.spec
        self.preprocessing = bundle.spec.preprocessing
        source = open_data(options.data, Role.TRAIN)
        self.available = len(source)
        self._opened = source
        self.source = even_sample(source, options.size)
        decoders = Decoders(choose_workers(options.workers, self.preprocessing, len(self.source)))
        self._batches = CachedBatches(
            Batches(self.source, self.preprocessing, 64, max_corrupt=options.max_corrupt, decoders=decoders)
        )
        self.digests: tuple[bytes, ...] = ()
        self.described: dict[str, Any] = {}

    def read(self, progress: Progress) -> None:
        """Decodes every image: finds corrupt ones before any other work, and computes the digests."""
        report_notes(self._opened, progress)
        images = read_images(self._batches, progress)
        self.digests = tuple(image.digest for image in images)
        self.described = describe_images(images, self.source, labels=False)
        if self.available < self.options.size:
            progress.warn(
                f"{self.source.name} has {self.available} images, fewer than --calib-size {self.options.size}"
            )

    def describe(self) -> dict[str, Any]:
        """Everything that the table depends on: the images themselves, the method and its options."""
        chosen = {"percentile": self.options.percentile} if self.options.method == "percentile" else {}
        return {
            **self.described,
            "method": self.options.method,
            "equalize": self.options.equalize,
            "preprocessing": dataclasses.asdict(self.preprocessing),
            **chosen,
        }

    def normalized(self, advance: Callable[[int], None]) -> Iterator[Floats]:
        """Yields the images one by one, normalised, (1, 3, H, W); advances with each."""
        for pixels in self._batches.pixels(1):
            yield normalize(pixels, self.preprocessing)
            advance(1)

    def some(self, advance: Callable[[int], None]) -> Iterator[Floats]:
        """The images that `split_of` puts into split 1, about half, until they have FIRST_PIXELS and are FIRST_IMAGES.

        All images if it puts none there.
        """
        enough = max(FIRST_IMAGES, FIRST_PIXELS // (self.preprocessing.height * self.preprocessing.width))
        chosen = itertools.islice((image for image in self.normalized(advance) if split_of(image)), enough)
        first = next(chosen, None)
        return self.normalized(advance) if first is None else itertools.chain([first], chosen)

    def inputs(self, size: int) -> Iterator[npt.NDArray[np.uint8] | Floats]:
        """The images in batches of at most `size`, as the bundle's graphs take them: pixels, or normalised."""
        return (as_input(pixels, self.preprocessing, self.spec.input) for pixels in self._batches.pixels(size))

    @property
    def compared(self) -> int:
        """How many of the first images graphs are compared on: COMPARED, or fewer large ones."""
        fitting = COMPARED_PIXELS // (self.preprocessing.height * self.preprocessing.width)
        return min(len(self.source), COMPARED, max(1, fitting))

    def answers(self, graph: Path, *, fuses_qdq: bool = True) -> list[int]:
        """The top classes of the images to compare graphs on, by a graph of the bundle.

        Raises:
            DeployError: an output is not finite.
        """
        infer = infer_all(open_session(graph, self.options.threads, fuses_qdq=fuses_qdq, spins=False))
        found = []
        for image in itertools.islice(self.inputs(1), self.compared):
            answer = infer(image)
            check_finite(
                answer, subject=f"{graph.name} gives", remedy="calibrate with a method that clips, or with more images"
            )
            found.append(int(best_classes(answer)[0]))
        return found

    def compare(self, expected: Sequence[int], graphs: Mapping[str, Path], progress: Progress) -> None:
        """Notes for how many images each graph, by its artifact's key, has fp32's top class: a first look.

        `eval` measures accuracy. Opens one session at a time, since each holds the weights.

        Raises:
            DeployError: an output is not finite.
        """
        for key, graph in graphs.items():
            found = self.answers(graph, fuses_qdq=not key.endswith("-tensorrt"))
            same = sum(mine == wanted for mine, wanted in zip(found, expected, strict=True))
            progress.note(f"{key}: same argmax as fp32 on {same} of {len(expected)} calibration images")


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
    pixels = hashlib.sha256(b"".join(image.digest for image in ordered)).hexdigest()
    described = {"data": Path(source.name).name, "data_digest": pixels, "images": len(ordered)}
    if labels:
        labelled = b"".join(image.digest + image.label.to_bytes(8, "little", signed=True) for image in ordered)
        described["labels_digest"] = hashlib.sha256(labelled).hexdigest()
    return described


def check_labels(images: Iterable[ReadImage], classes: int, reason: str) -> None:
    """Raises DeployError if an image has no label, or one outside of the classes; the text ends with `reason`."""
    for image in images:
        if not 0 <= image.label < classes:
            found = "no label" if image.label < 0 else f"label {image.label}"
            raise DeployError(f"{image.name} has {found}: expected 0 to {classes - 1}{reason}")
