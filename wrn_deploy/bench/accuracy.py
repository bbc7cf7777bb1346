"""Runs a backend over labelled images and keeps what it answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wrn_deploy.backend import Backend
from wrn_deploy.bench.report import Accuracy
from wrn_deploy.data.digest import DataDigest
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.errors import DeployError

__all__ = ["Answers", "ask", "fill", "score"]


@dataclass(frozen=True, slots=True)
class Answers:
    """The argmax and label of each image, in the data's order; `digest` identifies all of them, `images` each.

    `corrupt` names those that were left out.
    """

    predicted: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    digest: str
    corrupt: tuple[str, ...]
    images: tuple[bytes, ...] = ()


def ask(backend: Backend, batches: Batches, advance: Callable[[int], None]) -> Answers:
    """Runs all images through the backend; `advance` is told of each batch.

    Raises:
        DeployError: an image has no label, or one outside the network's classes, or a logit is not finite.
    """
    classes = backend.outputs[0].shape[0]
    predicted, labels, digest = [], [], DataDigest()
    for batch in batches:
        outside = np.flatnonzero((batch.labels < 0) | (batch.labels >= classes))
        if len(outside):
            label = int(batch.labels[outside[0]])
            found = "no label" if label < 0 else f"label {label}"
            raise DeployError(
                f"{batch.names[outside[0]]} has {found}: expected 0 to {classes - 1}, to measure accuracy"
            )
        backend.upload(fill(normalize(batch.images, batches.how), backend.batches[0]))
        backend.execute()
        backend.synchronize()
        logits = backend.download()[0][: len(batch.labels)]
        if not np.isfinite(logits).all():
            raise DeployError(f"the network gives NaN or infinite logits near {batch.names[0]}: expected finite ones")
        predicted.append(logits.argmax(axis=1))
        labels.append(batch.labels)
        digest.add(batch.images)
        advance(len(batch.labels))
    whole = digest.hexdigest()
    corrupt = tuple(batches.corrupt)
    return Answers(np.concatenate(predicted), np.concatenate(labels), whole, corrupt, digest.digests)


def fill(images: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.float32]:
    """At least `count` images: from the start again where there are fewer."""
    return np.resize(images, (count, *images.shape[1:])) if len(images) < count else images


def score(answers: Answers, reference: Answers | None) -> Accuracy:
    """Top-1, and the agreement with `reference` where there is one."""
    if reference is not None:
        assert np.array_equal(answers.labels, reference.labels), "the contenders saw different images"
    agreement = None if reference is None else float((answers.predicted == reference.predicted).mean())
    return Accuracy(len(answers.labels), int((answers.predicted == answers.labels).sum()), agreement)
