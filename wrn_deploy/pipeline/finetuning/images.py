"""The images of a fine-tuning: those to train on, and held-out ones to judge it by; no image is both."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from wrn_deploy.calib.lint.finding import Target
from wrn_deploy.calib.options import Schedule
from wrn_deploy.data import ImageSource, Role, open_data
from wrn_deploy.data.cached_batches import CachedBatches, count_cached
from wrn_deploy.data.classes import match_classes
from wrn_deploy.data.corrupt import MaxCorrupt
from wrn_deploy.data.decoding.decoders import Decoders, choose_workers
from wrn_deploy.data.decoding.kept import KeptDecoders
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.data.sampling.overlap import ImageSet
from wrn_deploy.data.sampling.subset import even_sample, subset
from wrn_deploy.data.sources import report_notes
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.pipeline.quantization.images import ReadImage, check_labels, describe_images, read_images
from wrn_deploy.progress import Progress
from wrn_deploy.spec import ModelSpec
from wrn_deploy.training.recipe import TrainRecipe

__all__ = ["FinetuneImages", "FinetuneOptions"]

HELD_OUT, HELD_OUT_FRACTION = 500, 0.2  # images of the training data that are not trained on, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneOptions:
    """The images, the schedule and the graphs of a fine-tuning.

    Attributes:
        data: images to train on, with labels if the loss needs them.
        test_data: held-out images; None: some of `data`, which are then not trained on.
        schedule: loss, length and rate.
        epochs: passes over `data`, instead of the schedule's steps.
        targets: the runtimes whose graphs are trained.
        limit: use `limit` images of `data`, spread evenly over it.
        mirror: mirror half of the images, if the data allows it.
        shift: shift images by up to `shift` pixels.
        threads: of the CPU; None: PyTorch's choice.
        max_corrupt: how many corrupt images may be left out.
        workers: decoding processes; None: one per core where images are resized.
    """

    data: str
    test_data: str | None = None
    schedule: Schedule = field(default_factory=Schedule)
    epochs: float | None = None
    targets: tuple[Target, ...] = (Target.TENSORRT, Target.ONNXRUNTIME)
    limit: int | None = None
    mirror: bool = True
    shift: int = 4
    threads: int | None = None
    max_corrupt: MaxCorrupt = 0
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.epochs is not None and not 0.0 < self.epochs < math.inf:
            raise UsageError(f"--epochs {self.epochs:g}: expected a positive number of passes, such as 3")
        if not self.targets or self.shift < 0:
            raise UsageError(
                f"{len(self.targets)} targets, shift {self.shift}: expected a target, and 0 pixels or more"
            )


class FinetuneImages:
    """The images to train on and the held-out ones; `read` divides them by their pixels, not by their names.

    An image whose pixels, as the network gets them, are those of a held-out image is not trained on, so that no copy
    gets into the training. Without test data, the images with the lowest digests are held out. Encoded images are
    decoded once: the pixels of as many as CACHE_BYTES hold are kept for the division, the epochs and the judge.
    """

    def __init__(self, spec: ModelSpec, options: FinetuneOptions) -> None:
        self.spec, self.options, self.preprocessing = spec, options, spec.preprocessing
        self._given = match_classes(open_data(options.data, Role.TRAIN), spec)
        self._tests = None if options.test_data is None else open_data(options.test_data, Role.TEST)
        self.train: ImageSource = self._given
        self.held_out: ImageSource = self._given
        self.trained: ImageSet = ImageSet.of(())
        self.described: dict[str, Any] = {}
        decoders = Decoders(choose_workers(options.workers, self.preprocessing, len(self._given)))
        self._decoders = KeptDecoders(decoders, room=count_cached(self.preprocessing))

    def read(self, progress: Progress) -> None:
        """Reads every image: finds corrupt ones before any other work, divides them, and computes the digests.

        Raises:
            DeployError: no image is left to train on, or the loss needs labels and one has none.
        """
        report_notes(self._given, progress)
        limit = self.options.limit
        given = self._given if limit is None else even_sample(self._given, limit)
        seen = read_images(self._batches(given, 64), progress)
        if self._tests is None:
            fraction = min(HELD_OUT, HELD_OUT_FRACTION * len(seen)) / len(seen)
            tests = [image for image in seen if int.from_bytes(image.digest[:8], "big") < fraction * 2.0**64]
            self.held_out = subset(self._given, [image.name for image in tests], len(tests), keep=True)
        else:
            self.held_out = match_classes(self._tests, self.spec)
            report_notes(self.held_out, progress)
            tests = read_images(self._batches(self.held_out, 64), progress)
        known = {image.digest for image in tests}
        train = [image for image in seen if image.digest not in known]
        both = len(seen) - len(train)
        if both and self._tests is not None:
            progress.warn(
                f"{both} of {len(seen)} images of {given.name} are held out too, so they are not used for training"
            )
        self._check(train, tests)
        left_out = {image.name for image in seen if image.digest in known}
        names, keep = (left_out, False) if limit is None else ({image.name for image in train} - left_out, True)
        self.train = subset(self._given, names, len(train), keep=keep)
        self.trained = ImageSet.of(image.digest for image in train)
        self.described = {
            "train": describe_images(train, self._given, labels=True),
            "held_out": describe_images(tests, self.held_out, labels=True),
            "preprocessing": dataclasses.asdict(self.preprocessing),
            "mirror": self._mirror,
            "shift": self.options.shift,
        }

    def batches(self, schedule: Schedule) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
        """Yields normalised images (N, 3, H, W) and labels (N,) forever, shuffled and augmented anew in each epoch."""
        import torch

        from wrn_deploy.training.augment import draw_moves, take_moved

        change = TrainRecipe(mirror=self._mirror, shift=self.options.shift)
        for epoch in itertools.count():
            order, random = (np.random.default_rng([schedule.seed, epoch, stream]) for stream in (0, 1))
            batches = self._batches(self.train, schedule.batch)
            batches.order = order
            for batch in batches:
                count = len(batch.labels)
                moves = draw_moves(change, count, random)
                moved = take_moved(torch.from_numpy(batch.images), torch.arange(count), moves).numpy()
                yield normalize(moved, self.preprocessing), batch.labels

    def judged_by(self, size: int) -> CachedBatches:
        """The held-out images, decoded once, since each look at a graph reads them again."""
        return CachedBatches(self._batches(self.held_out, size))

    @property
    def schedule(self) -> Schedule:
        """The schedule of the options, with the steps that its epochs take."""
        asked, epochs = self.options.schedule, self.options.epochs
        if epochs is None:
            return asked
        return dataclasses.replace(asked, steps=max(1, math.ceil(epochs * len(self.train) / asked.batch)))

    @property
    def _mirror(self) -> bool:
        return self.options.mirror and self._given.mirror

    def _batches(self, source: ImageSource, size: int) -> Batches:
        return Batches(source, self.preprocessing, size, max_corrupt=self.options.max_corrupt, decoders=self._decoders)

    def _check(self, train: list[ReadImage], tests: list[ReadImage]) -> None:
        if not train or not tests:
            raise DeployError(
                f"{self._given.name} gives {len(train)} images to train on and {len(tests)} to evaluate on: expected "
                "some of both; give more images, or others with --test-data"
            )
        loss = self.options.schedule.loss
        if loss.needs_labels:
            reason = f" for --loss {loss}; `--loss distill` needs no labels"
            check_labels((*train, *tests), self.spec.classes, reason)
