"""Runs a backend over labelled images, keeps what it answered, and compares its logits with the reference's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from wrn_deploy.bench.measuring.exact_sum import ExactSum
from wrn_deploy.data.preprocess import Batch, Batches, as_input
from wrn_deploy.data.sampling.digest import DataDigest
from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.backend import Array, Backend
from wrn_deploy.runtime.finite import check_finite
from wrn_deploy.spec import ModelSpec

__all__ = ["TOP", "Answers", "LogitErrors", "LogitFile", "ask", "best_classes", "fill", "in_top"]

TOP = 5  # of top-5


@dataclass(frozen=True, slots=True)
class LogitFile:
    """The reference row's logits in a file: float32, image after image; `write`: this candidate is the reference.

    The other candidates read it batch by batch while they answer, so no logits travel between processes.
    """

    path: Path
    write: bool


@dataclass(frozen=True, slots=True)
class LogitErrors:
    """The absolute differences of the logits from the reference's, over all images and classes.

    Args:
        largest: the largest difference.
        total: their exact sum, so that those of shards merge.
    """

    largest: float
    total: ExactSum

    @property
    def mean(self) -> float:
        """The mean difference."""
        return self.total.mean

    def merged(self, other: LogitErrors) -> LogitErrors:
        """The differences of both."""
        return LogitErrors(max(self.largest, other.largest), self.total.merged(other.total))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The argmax and label of each image, in the data's order.

    Args:
        predicted: the top class of each image.
        labels: its true class.
        digest: identifies all images.
        corrupt: names of the images that were left out.
        images: the digest of each image.
        in_top5: whether each label is among the five top classes; None: the network has no more classes than that, or
            gives fewer.
        errors: of the logits against the reference's.
    """

    predicted: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    digest: str
    corrupt: tuple[str, ...]
    images: tuple[bytes, ...] = ()
    in_top5: npt.NDArray[np.bool_] | None = None
    errors: LogitErrors | None = None


def ask(
    backend: Backend, batches: Batches, spec: ModelSpec, advance: Callable[[int], None], logits: LogitFile | None = None
) -> Answers:
    """Runs all labelled images through the backend; calls `advance` with the size of each batch.

    A batch that is larger than the backend supports is run in parts. Writes the logits to `logits` if this backend is
    the reference, and compares them with it if not.

    Raises:
        DeployError: an image has no label, or one outside the network's classes, or an output is not finite.
    """
    predicted, labels, tops, digest = [], [], [], DataDigest()
    with _open_logits(logits) as kept:
        for batch in batches:
            _check_labels(batch, spec.classes)
            results = _run(backend, as_input(batch.images, batches.preprocessing, backend.inputs[0]))
            check_finite(
                results, subject="the network gives", remedy="run another precision, such as fp32", names=batch.names
            )
            predicted.append(best_classes(results))
            labels.append(batch.labels)
            tops.append(in_top(results, batch.labels, spec.classes))
            if "logits" in results:
                kept.take(results["logits"])
            digest.add(batch.images)
            advance(len(batch.labels))
    top5 = [top for top in tops if top is not None]
    return Answers(
        predicted=np.concatenate(predicted),
        labels=np.concatenate(labels),
        digest=digest.hexdigest(),
        corrupt=tuple(batches.corrupt),
        images=digest.digests,
        in_top5=np.concatenate(top5) if top5 else None,
        errors=kept.errors(),
    )


def _run(backend: Backend, images: Array) -> dict[str, Array]:
    """The outputs for all images, by name."""
    names, most = [output.name for output in backend.outputs], backend.batches[-1]
    parts = []
    for start in range(0, len(images), most):
        part = images[start : start + most]
        outputs = backend.infer(fill(part, backend.batches[0]))
        parts.append([output[: len(part)] for output in outputs])
    return {name: np.concatenate(outputs) for name, outputs in zip(names, zip(*parts, strict=True), strict=True)}


def _check_labels(batch: Batch, classes: int) -> None:
    outside = np.flatnonzero((batch.labels < 0) | (batch.labels >= classes))
    if len(outside):
        label = int(batch.labels[outside[0]])
        found = "no label" if label < 0 else f"label {label}"
        raise DeployError(f"{batch.names[outside[0]]} has {found}: expected 0 to {classes - 1} to measure accuracy")


def best_classes(results: Mapping[str, Array]) -> npt.NDArray[np.int64]:
    """Returns the top class of each image, (N,), from a graph's outputs by name."""
    found: npt.NDArray[np.int64] = (
        results["top_classes"][:, 0] if "top_classes" in results else results["logits"].argmax(axis=1)
    )
    return found


def in_top(results: Mapping[str, Array], labels: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.bool_] | None:
    """Returns whether each label is among the five top classes, (N,); of equal logits the first class ranks higher.

    None if the network has no more than five classes, or the graph gives fewer of them.
    """
    if classes <= TOP:
        return None
    if "top_classes" in results:
        given = results["top_classes"]
        return None if given.shape[1] < TOP else (given[:, :TOP] == labels[:, None]).any(axis=1)
    logits = results["logits"]
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    level_before = (logits == own) & (np.arange(classes) < labels[:, None])
    found: npt.NDArray[np.bool_] = ((logits > own) | level_before).sum(axis=1) < TOP
    return found


def fill(images: Array, count: int) -> Array:
    """Returns at least `count` images: repeats them from the start if there are fewer."""
    return np.resize(images, (count, *images.shape[1:])) if len(images) < count else images


class _Logits:
    """Takes a candidate's logits batch by batch; its memory does not grow with the number of images.

    Reads the file and does not map it: mapped pages would count as memory of the candidate's process.
    """

    def __init__(self, file: IO[bytes] | None, *, write: bool) -> None:
        self._file, self._write = file, write
        self._largest, self._total = 0.0, ExactSum()

    def take(self, logits: Array) -> None:
        """Writes the next images' logits, (N, classes), or compares them with the reference's.

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
                    f"the reference's logits cannot be stored ({error.strerror}): free {own.nbytes} bytes per "
                    f"batch in {self._file.name}, or measure fewer images with --limit"
                ) from error
            return
        reference = np.frombuffer(self._file.read(own.nbytes), dtype="<f4")
        if reference.size != own.size:
            raise DeployError("the reference saw fewer images: do not change the data during the measurement")
        differences = np.abs(own.reshape(-1).astype(np.float64) - reference)
        self._largest = max(self._largest, float(differences.max()))
        self._total.add(differences)

    def errors(self) -> LogitErrors | None:
        """Returns None if nothing was compared."""
        return LogitErrors(self._largest, self._total) if self._total.count else None


@contextlib.contextmanager
def _open_logits(kept: LogitFile | None) -> Iterator[_Logits]:
    """Opens the file to write or to compare; without a file, or one that the reference wrote, does neither."""
    if kept is None or not (kept.write or kept.path.exists()):
        yield _Logits(None, write=False)
        return
    with kept.path.open("wb" if kept.write else "rb") as file:
        yield _Logits(file, write=kept.write)
