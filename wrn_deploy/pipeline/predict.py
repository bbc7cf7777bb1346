"""The predict step: image files through a bundle, to labels and scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wrn_deploy.backend import title_of
from wrn_deploy.data.decode import decode_image
from wrn_deploy.data.preprocess import fit_image
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.progress import Progress
from wrn_deploy.runner import Runner
from wrn_deploy.spec import ModelSpec, Precision

__all__ = ["PredictOptions", "Prediction", "Predictions", "Scored", "predict_files"]

SHOWN = 3  # classes


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """Which images, how many classes of each (None: SHOWN, if there are so many), and what runs them.

    `backend` and `precision` None: the runner's own choice.
    """

    images: tuple[Path, ...]
    top_k: int | None = None
    backend: str | None = None
    precision: Precision | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """One class: its index, its name, and its score, as `Predictions.scores` says."""

    index: int
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The best classes of one image, best first."""

    image: str
    best: tuple[Scored, ...]


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a network said, and what ran it.

    `scores` is "softmax" (of the logits, 0..1); or "logit", where the bundle gives its best classes alone: a softmax
    needs the logits of all.
    """

    model: str
    random_weights: bool
    backend: str
    precision: Precision
    scores: str
    images: tuple[Prediction, ...]


def predict_files(folder: Path, options: PredictOptions, progress: Progress) -> Predictions:
    """Reads each file, fits it to the network of the bundle in `folder`, and predicts, one image at a time.

    Raises:
        UsageError: `top_k` is more than the network has classes, or the bundle gives.
        DeployError: a file is missing, no image, or has the wrong size; or a logit is not finite.
        MachineError: this machine cannot run what was asked for.
    """
    with Runner.open(folder, backend=options.backend, precision=options.precision) as runner:
        spec, files = runner.bundle.spec, options.images
        given = spec.interface.top_k
        top_k = _count(options.top_k, spec)
        title = f"Predicting with {title_of(runner.backend)} {runner.precision}"
        found = []
        with progress.task(title, len(files)) as advance:
            for file in files:
                found.append(_predict(runner, file, top_k))
                advance(1)
        ran = (runner.bundle.random_weights, runner.backend, runner.precision)
        return Predictions(spec.name, *ran, "softmax" if given is None else "logit", tuple(found))


def _count(asked: int | None, spec: ModelSpec) -> int:
    """How many classes to tell."""
    given = spec.interface.top_k
    most, what = (spec.classes, "the number of classes") if given is None else (given, "the classes this bundle gives")
    if asked is not None and not 1 <= asked <= most:
        raise UsageError(f"--top-k {asked}: expected 1 to {most}, {what}")
    return min(SHOWN, most) if asked is None else asked


def _predict(runner: Runner, file: Path, top_k: int) -> Prediction:
    spec = runner.bundle.spec
    image = fit_image(_read(file), spec.preprocessing, str(file))
    results = {name: result[0] for name, result in runner.run(image[None]).items()}
    logits = results["logits" if "logits" in results else "top_logits"]
    if not np.isfinite(logits).all():
        raise DeployError(
            f"the network gives NaN or infinite logits for {file}: expected finite ones; try --precision fp32"
        )
    if "logits" in results:
        scores = _softmax(logits)
        best = [(int(index), float(scores[index])) for index in np.argsort(-scores, kind="stable")]
    else:
        best = [(int(index), float(logit)) for index, logit in zip(results["top_classes"], logits, strict=True)]
    return Prediction(str(file), tuple(Scored(index, spec.label(index), score) for index, score in best[:top_k]))


def _read(file: Path) -> npt.NDArray[np.uint8]:
    try:
        return decode_image(file.read_bytes(), str(file))
    except OSError as error:
        raise DeployError(f"{file} cannot be read ({error.strerror}): expected an image file") from error


def _softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64) - float(logits.max()))
    scores: npt.NDArray[np.float64] = powers / powers.sum()
    return scores
