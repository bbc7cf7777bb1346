"""Runs a backend over labelled images and keeps what it answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wrn_deploy.backend import Array, Backend
from wrn_deploy.bench.report import Accuracy
from wrn_deploy.data.digest import DataDigest
from wrn_deploy.data.preprocess import Batches, as_input
from wrn_deploy.errors import DeployError
from wrn_deploy.spec import ModelSpec

__all__ = ["Answers", "ask", "best_classes", "fill", "score"]


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


def ask(backend: Backend, batches: Batches, spec: ModelSpec, advance: Callable[[int], None]) -> Answers:
    """Runs all images through the backend; `advance` is told of each batch.

    Raises:
        DeployError: an image has no label, or one outside the network's classes, or an output is not finite.
    """
    classes, names = spec.classes, [output.name for output in backend.outputs]
    predicted, labels, digest = [], [], DataDigest()
    for batch in batches:
        outside = np.flatnonzero((batch.labels < 0) | (batch.labels >= classes))
        if len(outside):
            label = int(batch.labels[outside[0]])
            found = "no label" if label < 0 else f"label {label}"
            raise DeployError(
                f"{batch.names[outside[0]]} has {found}: expected 0 to {classes - 1}, to measure accuracy"
            )
        backend.upload(fill(as_input(batch.images, spec), backend.batches[0]))
        backend.execute()
        backend.synchronize()
        results = {name: result[: len(batch.labels)] for name, result in zip(names, backend.download(), strict=True)}
        for name, result in results.items():
            if not np.isfinite(result).all():
                raise DeployError(
                    f"the network gives NaN or infinite {name} near {batch.names[0]}: expected finite ones"
                )
        predicted.append(best_classes(results))
        labels.append(batch.labels)
        digest.add(batch.images)
        advance(len(batch.labels))
    whole = digest.hexdigest()
    corrupt = tuple(batches.corrupt)
    return Answers(np.concatenate(predicted), np.concatenate(labels), whole, corrupt, digest.digests)


def best_classes(results: Mapping[str, Array]) -> npt.NDArray[np.int64]:
    """The class of each image, (N,), from a graph's outputs by name."""
    found: npt.NDArray[np.int64] = (
        results["top_classes"][:, 0] if "top_classes" in results else results["logits"].argmax(axis=1)
    )
    return found


def fill(images: Array, count: int) -> Array:
    """At least `count` images: from the start again where there are fewer."""
    return np.resize(images, (count, *images.shape[1:])) if len(images) < count else images


def score(answers: Answers, reference: Answers | None) -> Accuracy:
    """Top-1, and the agreement with `reference` where there is one."""
    if reference is not None:
        assert np.array_equal(answers.labels, reference.labels), "the contenders saw different images"
    agreement = None if reference is None else float((answers.predicted == reference.predicted).mean())
    return Accuracy(len(answers.labels), int((answers.predicted == answers.labels).sum()), agreement)
