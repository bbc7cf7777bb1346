"""The predict step: image files through a bundle, to labels and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wrn_deploy.data.decode import decode_image
from wrn_deploy.data.preprocess import fit_image
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.runner import Runner
from wrn_deploy.spec import Precision

__all__ = ["Prediction", "predict_files"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """The best classes of one image, best first: label and score, the softmax of its logit (0..1)."""

    image: str
    best: tuple[tuple[str, float], ...]


def predict_files(
    folder: Path, files: Sequence[Path], top_k: int, contender: tuple[str | None, Precision | None]
) -> list[Prediction]:
    """Reads each file, fits it to the network, and predicts, one image at a time.

    Args:
        folder: the bundle.
        files: the images.
        top_k: classes of each image.
        contender: backend and precision; None for the runner's own choice.

    Raises:
        DeployError: a file is missing, no image, or has the wrong size.
    """
    with Runner.open(folder, backend=contender[0], precision=contender[1]) as runner:
        spec = runner.bundle.spec
        if not 1 <= top_k <= spec.classes:
            raise UsageError(f"--top-k {top_k}: expected 1 to {spec.classes}, the number of classes")
        images = [fit_image(_read(file), spec.preprocessing, str(file)) for file in files]
        return [_best(runner, str(file), image, top_k) for file, image in zip(files, images, strict=True)]


def _best(runner: Runner, name: str, image: npt.NDArray[np.uint8], top_k: int) -> Prediction:
    scores = _softmax(runner.predict(image[None])[0])
    best = np.argsort(-scores, kind="stable")[:top_k]
    return Prediction(name, tuple((runner.bundle.spec.label(int(index)), float(scores[index])) for index in best))


def _read(file: Path) -> npt.NDArray[np.uint8]:
    try:
        return decode_image(file.read_bytes(), str(file))
    except OSError as error:
        raise DeployError(f"{file} cannot be read ({error.strerror}): expected an image file") from error


def _softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64) - float(logits.max()))
    scores: npt.NDArray[np.float64] = powers / powers.sum()
    return scores
