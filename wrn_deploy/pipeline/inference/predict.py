"""The predict step: images through a bundle or a network, to labels and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wrn_deploy.data.any_image import AnyImage, fit_images
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.pipeline.inference.models import BundleOrWeights, LoadedModel, ModelLike, images_together, open_model
from wrn_deploy.pipeline.networks.network import load_network
from wrn_deploy.progress import Progress
from wrn_deploy.runtime.backend import Array, find_runtime
from wrn_deploy.spec import ModelSpec, Precision

__all__ = ["ClassScore", "PredictOptions", "Prediction", "Predictions", "predict_images", "predict_target"]

SHOWN = 3  # classes


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions:
    """Which images, how many classes to give for each (None: 3, or all if there are fewer), and what runs them.

    `backend` and `precision` None: the Runner chooses.
    """

    images: Sequence[AnyImage]
    top_k: int | None = None
    backend: str | None = None
    precision: Precision | str | None = None


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class: its index, its name, and its score, as `Predictions.scores` says."""

    index: int
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The best classes of one image, best first; `label`, `index` and `score` are those of the very best.

    `image` is its path, or its place among the images, as in "image 0".
    """

    image: str
    best: tuple[ClassScore, ...]

    @property
    def label(self) -> str:
        """The name of the best class, or its index where the classes have no names."""
        return self.best[0].label

    @property
    def index(self) -> int:
        """The index of the best class."""
        return self.best[0].index

    @property
    def score(self) -> float:
        """The score of the best class: 0..1, or a logit (see `Predictions.scores`)."""
        return self.best[0].score


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """The predictions for all images, and what ran them.

    `scores` is "softmax" (of the logits, 0..1); or "logit", where the bundle gives its best classes alone: a softmax
    needs the logits of all.
    """

    model: str
    random_weights: bool
    backend: str
    precision: Precision
    scores: str
    images: tuple[Prediction, ...]


def predict_images(model: ModelLike, options: PredictOptions, progress: Progress) -> Predictions:
    """Reads each image, fits it to the network, and predicts; some images at a time.

    Raises:
        UsageError: `top_k` is more than the network has classes, or the bundle gives.
        DeployError: a file is missing, no image, or has the wrong size; or a logit is not finite.
        MachineError: this machine cannot run what was asked for.
    """
    with open_model(model, options.backend, options.precision) as opened:
        top_k, found = _count(options.top_k, opened.spec), list[Prediction]()
        title = f"Predicting with {find_runtime(opened.backend).title} {opened.precision}"
        with progress.task(title, len(options.images)) as advance:
            how = opened.spec.preprocessing
            for names, pixels in fit_images(options.images, how, images_together(opened.spec)):
                found += _predict(opened, names, pixels, top_k)
                advance(len(names))
        scores = "softmax" if opened.spec.interface.top_k is None else "logit"
        return Predictions(
            model=opened.spec.name,
            random_weights=opened.random_weights,
            backend=opened.backend,
            precision=opened.precision,
            scores=scores,
            images=tuple(found),
        )


def predict_target(target: BundleOrWeights, options: PredictOptions, progress: Progress) -> Predictions:
    """As `predict_images`, of a bundle or of weights that PyTorch runs.

    Raises:
        UsageError: `backend` or `precision` for weights; or as `predict_images`.
        DeployError: bad weights; or as `predict_images`.
        MachineError: as `predict_images`.
    """
    model = target.path if target.is_bundle else load_network(target.network, progress).network
    return predict_images(model, options, progress)


def _count(asked: int | None, spec: ModelSpec) -> int:
    """How many classes to tell."""
    given = spec.interface.top_k
    most, what = (spec.classes, "the number of classes") if given is None else (given, "the classes this bundle gives")
    if asked is not None and not 1 <= asked <= most:
        raise UsageError(f"top-k {asked}: expected 1 to {most}, {what}")
    return min(SHOWN, most) if asked is None else asked


def _predict(opened: LoadedModel, names: Sequence[str], pixels: Array, top_k: int) -> list[Prediction]:
    results = opened.run(pixels)
    logits = results["logits" if "logits" in results else "top_logits"]
    for name, own in zip(names, logits, strict=True):
        if not np.isfinite(own).all():
            raise DeployError(
                f"the network gives NaN or infinite logits for {name}: expected finite ones; try --precision fp32"
            )
    if "logits" in results:
        scores = _softmax(logits)
        classes = np.argsort(-scores, axis=1, kind="stable")
        scores = np.take_along_axis(scores, classes, axis=1)
    else:
        classes, scores = results["top_classes"], logits.astype(np.float64)
    return [
        Prediction(name, _best(opened.spec, classes[at][:top_k], scores[at][:top_k])) for at, name in enumerate(names)
    ]


def _best(spec: ModelSpec, classes: Array, scores: Array) -> tuple[ClassScore, ...]:
    return tuple(
        ClassScore(int(index), spec.label(int(index)), float(score))
        for index, score in zip(classes, scores, strict=True)
    )


def _softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Of each row."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    scores: npt.NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return scores
