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
from wrn_deploy.spec import Precision

__all__ = ["PredictOptions", "Prediction", "Predictions", "Scored", "predict_files"]


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """Which images, how many classes of each, and what runs them (None: the runner's own choice)."""

    images: tuple[Path, ...]
    top_k: int = 3
    backend: str | None = None
    precision: Precision | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """One class: its index, its name, and its score, the softmax of its logit (0..1)."""

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
    """What a network said, and what ran it."""

    model: str
    random_weights: bool
    backend: str
    precision: Precision
    images: tuple[Prediction, ...]


def predict_files(folder: Path, options: PredictOptions, progress: Progress) -> Predictions:
    """Reads each file, fits it to the network of the bundle in `folder`, and predicts, one image at a time.

    Raises:
        UsageError: `top_k` is more than the network has classes.
        DeployError: a file is missing, no image, or has the wrong size; or a logit is not finite.
        MachineError: this machine cannot run what was asked for.
    """
    with Runner.open(folder, backend=options.backend, precision=options.precision) as runner:
        spec, files = runner.bundle.spec, options.images
        if not 1 <= options.top_k <= spec.classes:
            raise UsageError(f"--top-k {options.top_k}: expected 1 to {spec.classes}, the number of classes")
        title = f"Predicting with {title_of(runner.backend)} {runner.precision}"
        found = []
        with progress.task(title, len(files)) as advance:
            for file in files:
                found.append(_predict(runner, file, options.top_k))
                advance(1)
        random = runner.bundle.random_weights
        return Predictions(spec.name, random, runner.backend, runner.precision, tuple(found))


def _predict(runner: Runner, file: Path, top_k: int) -> Prediction:
    spec = runner.bundle.spec
    image = fit_image(_read(file), spec.preprocessing, str(file))
    logits = runner.predict(image[None])[0]
    if not np.isfinite(logits).all():
        raise DeployError(
            f"the network gives NaN or infinite logits for {file}: expected finite ones; try --precision fp32"
        )
    scores = _softmax(logits)
    best = [int(index) for index in np.argsort(-scores, kind="stable")[:top_k]]
    return Prediction(str(file), tuple(Scored(index, spec.label(index), float(scores[index])) for index in best))


def _read(file: Path) -> npt.NDArray[np.uint8]:
    try:
        return decode_image(file.read_bytes(), str(file))
    except OSError as error:
        raise DeployError(f"{file} cannot be read ({error.strerror}): expected an image file") from error


def _softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64) - float(logits.max()))
    scores: npt.NDArray[np.float64] = powers / powers.sum()
    return scores
