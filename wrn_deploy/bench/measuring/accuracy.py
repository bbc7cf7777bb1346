"""Runs a backend over labelled images and keeps what it answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wrn_deploy.bench.measuring.logits import LogitErrors, LogitFile, open_logits
from wrn_deploy.data.preprocess import Batch, Batches, as_input
from wrn_deploy.data.sampling.digest import DataDigest
from wrn_deploy.errors import DeployError
from wrn_deploy.runtime.backend import Array, Backend
from wrn_deploy.spec import ModelSpec

__all__ = ["TOP", "Answers", "ask", "best_classes", "fill", "in_top"]

TOP = 5  # of top-5


@dataclass(frozen=True, slots=True)
class Answers:
    """The argmax and label of each image, in the data's order; `digest` identifies all of them, `images` each.

    `corrupt` names those that were left out. `in_top5` says of each image whether its label is among the five top
    classes; None: the network has no more classes than that, or gives fewer. `errors` are those of the logits against
    the reference's.
    """

    predicted: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    digest: str
    corrupt: tuple[str, ...]
    images: tuple[bytes, ...] = ()
    in_top5: npt.NDArray[np.bool_] | None = None
    errors: LogitErrors | None = None


def ask(
    backend: Backend,
    batches: Batches,
    spec: ModelSpec,
    advance: Callable[[int], None],
    logits: LogitFile | None = None,
) -> Answers:
    """Runs all images through the backend; `advance` is told of each batch.

    Args:
        backend: what is asked.
        batches: labelled images.
        spec: what the network takes and gives.
        advance: is told how many images each batch had.
        logits: the reference's, which this backend writes if it is the reference, and is compared with if not.

    Raises:
        DeployError: an image has no label, or one outside the network's classes, or an output is not finite.
    """
    names = [output.name for output in backend.outputs]
    predicted, labels, tops, digest = [], [], [], DataDigest()
    with open_logits(logits) as kept:
        for batch in batches:
            _check_labels(batch, spec.classes)
            results = dict(zip(names, _infer(backend, batch, spec), strict=True))
            _check_finite(results, batch.names[0])
            predicted.append(best_classes(results))
            labels.append(batch.labels)
            tops.append(in_top(results, batch.labels, spec.classes))
            if "logits" in results:
                kept.take(results["logits"])
            digest.add(batch.images)
            advance(len(batch.labels))
    top5 = [top for top in tops if top is not None]
    return Answers(
        np.concatenate(predicted),
        np.concatenate(labels),
        digest.hexdigest(),
        tuple(batches.corrupt),
        digest.digests,
        np.concatenate(top5) if top5 else None,
        kept.errors(),
    )


def _infer(backend: Backend, batch: Batch, spec: ModelSpec) -> list[Array]:
    """The outputs for the images of the batch."""
    backend.upload(fill(as_input(batch.images, spec), backend.batches[0]))
    backend.execute()
    backend.synchronize()
    return [result[: len(batch.labels)] for result in backend.download()]


def _check_labels(batch: Batch, classes: int) -> None:
    outside = np.flatnonzero((batch.labels < 0) | (batch.labels >= classes))
    if len(outside):
        label = int(batch.labels[outside[0]])
        found = "no label" if label < 0 else f"label {label}"
        raise DeployError(f"{batch.names[outside[0]]} has {found}: expected 0 to {classes - 1}, to measure accuracy")


def _check_finite(results: Mapping[str, Array], first: str) -> None:
    for name, result in results.items():
        if not np.isfinite(result).all():
            raise DeployError(f"the network gives NaN or infinite {name} near {first}: expected finite ones")


def best_classes(results: Mapping[str, Array]) -> npt.NDArray[np.int64]:
    """The class of each image, (N,), from a graph's outputs by name."""
    found: npt.NDArray[np.int64] = (
        results["top_classes"][:, 0] if "top_classes" in results else results["logits"].argmax(axis=1)
    )
    return found


def in_top(results: Mapping[str, Array], labels: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.bool_] | None:
    """Whether each label is among the five top classes, (N,); of equal logits the first class counts as the higher.

    None where the network has no more than five classes, or the graph gives fewer of them.
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
    """At least `count` images: from the start again where there are fewer."""
    return np.resize(images, (count, *images.shape[1:])) if len(images) < count else images
