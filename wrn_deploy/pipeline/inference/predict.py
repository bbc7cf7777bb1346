"""The predict step: images through a bundle or a network, to labels and scores, or to features."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from wrn_deploy.data.any_image import AnyImage, fit_images, is_encoded
from wrn_deploy.data.decoding.decoders import Decoders
from wrn_deploy.errors import UsageError
from wrn_deploy.pipeline.inference.models import (
    BundleOrWeights,
    ExtraOutput,
    LoadedModel,
    ModelLike,
    images_together,
    open_model,
)
from wrn_deploy.pipeline.networks.network import load_network
from wrn_deploy.progress import Progress
from wrn_deploy.runtime.backend import Array, find_runtime
from wrn_deploy.runtime.finite import check_finite
from wrn_deploy.spec import ModelSpec, Precision

if TYPE_CHECKING:
    import torch

__all__ = [
    "PredictOptions", "PredictedClass", "Prediction", "Predictions", "extract_features", "predict_images",
    "predict_target",
]  # fmt: skip

DEFAULT_TOP_K = 3
REMEDY = "run another precision, such as fp32, or check the weights"

Images: TypeAlias = "AnyImage | Sequence[AnyImage] | npt.NDArray[np.float32] | torch.Tensor"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions:
    """Which images, how many classes to return for each (None: 3, or all if there are fewer), and what runs them.

    `backend` and `precision` None: the Runner chooses.
    """

    images: Sequence[AnyImage]
    top_k: int | None = None
    backend: str | None = None
    precision: Precision | str | None = None


@dataclass(frozen=True, slots=True)
class PredictedClass:
    """One class: its index, its name, and its score, of the kind that `Predictions.scores` names."""

    index: int
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """The best classes of one image, best first; `label`, `index` and `score` are those of the very best.

    `image` is its path, or its place among the images, as in "image 0".
    """

    image: str
    best: tuple[PredictedClass, ...]

    @property
    def label(self) -> str:
        """The name of the best class, or its index if the classes have no names."""
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

    `scores` is "softmax" (of the logits, 0..1), or "logit" if the bundle returns its best classes alone: a softmax
    needs the logits of all. `seconds` is the time of inference for all images together, with copies, without decoding.
    """

    model: str
    random_weights: bool
    backend: str
    precision: Precision
    scores: str
    images: tuple[Prediction, ...]
    seconds: float


def predict_images(model: ModelLike, options: PredictOptions, progress: Progress) -> Predictions:
    """Reads each image, fits it to the network, and predicts; some images at a time.

    Raises:
        UsageError: `top_k` is more than the network has classes, or the bundle returns.
        DeployError: a file is missing, is not an image, or has the wrong size; or an output is not finite.
        MachineError: this machine cannot run what was asked for.
    """
    with contextlib.ExitStack() as stack:
        decoders = stack.enter_context(Decoders(1))
        if any(map(is_encoded, options.images)):
            decoders.start()  # while the model is opened
        opened = stack.enter_context(open_model(model, options.backend, options.precision))
        spec, found, seconds = opened.spec, list[Prediction](), 0.0
        top_k = _count(options.top_k, spec)
        title = f"Predicting with {find_runtime(opened.backend).title} {opened.precision}"
        with progress.task(title, len(options.images)) as advance:
            for names, pixels in fit_images(options.images, spec.preprocessing, images_together(spec), decoders):
                start = time.perf_counter()
                results = opened.run(pixels)
                seconds += time.perf_counter() - start
                found += _best(opened, names, results, top_k)
                advance(len(names))
        return Predictions(
            model=spec.name,
            random_weights=opened.random_weights,
            backend=opened.backend,
            precision=opened.precision,
            scores="softmax" if spec.interface.top_k is None else "logit",
            images=tuple(found),
            seconds=seconds,
        )


def predict_target(target: BundleOrWeights, options: PredictOptions, progress: Progress) -> Predictions:
    """Predicts as `predict_images`, with a bundle or with weights that PyTorch runs.

    Raises:
        UsageError: `backend` or `precision` for weights; or as `predict_images`.
        DeployError: bad weights; or as `predict_images`.
        MachineError: as `predict_images`.
    """
    model = target.path if target.is_bundle else load_network(target.network, progress).network
    return predict_images(model, options, progress)


def extract_features(
    model: ModelLike, images: Images, backend: str | None, precision: Precision | str | None, *, maps: bool
) -> tuple[npt.NDArray[np.float32], ...]:
    """Returns the pooled features of each image, one array (N, F); with `maps` the feature maps, finest first.

    Args:
        model: as in `open_model`.
        images: an image, several, or uint8 (N, height, width, 3), which are fitted to the network; or what it takes, a
            batch of normalised float32 (N, 3, H, W), as an array or a tensor.
        backend: for a bundle, as `Runner.open`.
        precision: likewise.
        maps: (N, channels, height, width) of each resolution instead.

    Raises:
        UsageError: there is no image.
        DeployError: the bundle returns no features; an image cannot be read; a feature is not finite.
        MachineError: this machine cannot run what was asked for.
    """
    with open_model(model, backend, precision, ExtraOutput.FEATURE_MAPS if maps else ExtraOutput.FEATURES) as opened:
        names = [output.name for output in opened.spec.feature_maps] if maps else ["features"]
        batches = []
        for batch in _batches(images, opened.spec):
            check_finite({"images": batch}, subject="the batch has", remedy="check how they were normalised")
            batches.append(opened.run(batch))
    if not batches:
        raise UsageError("no images to extract features of: expected at least one")
    found = {name: np.concatenate([results[name] for results in batches]) for name in names}
    check_finite(found, subject=f"{opened.backend} {opened.precision} gives", remedy=REMEDY)
    return tuple(found.values())


def _count(top_k: int | None, spec: ModelSpec) -> int:
    """How many classes to return for each image."""
    given = spec.interface.top_k
    limit, name = (spec.classes, "the number of classes") if given is None else (given, "the classes this bundle gives")
    if top_k is not None and not 1 <= top_k <= limit:
        raise UsageError(f"top-k {top_k}: expected 1 to {limit}, {name}")
    return min(DEFAULT_TOP_K, limit) if top_k is None else top_k


def _best(opened: LoadedModel, names: Sequence[str], results: Mapping[str, Array], top_k: int) -> Iterator[Prediction]:
    check_finite(results, subject=f"{opened.backend} {opened.precision} gives", remedy=REMEDY, names=names)
    logits = results["logits" if "logits" in results else "top_logits"]
    scores = logits.astype(np.float64)
    if "logits" in results:
        powers = np.exp(scores - logits.max(axis=1, keepdims=True))
        softmax = powers / powers.sum(axis=1, keepdims=True)
        classes = np.argsort(-softmax, axis=1, kind="stable")
        scores = np.take_along_axis(softmax, classes, axis=1)
    else:
        classes = results["top_classes"]
    for name, indices, own in zip(names, classes[:, :top_k].tolist(), scores[:, :top_k].tolist(), strict=True):
        best = zip(indices, own, strict=True)
        yield Prediction(name, tuple(PredictedClass(index, opened.spec.label(index), score) for index, score in best))


def _batches(images: Any, spec: ModelSpec) -> Iterator[Array]:
    size = images_together(spec)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(images, torch.Tensor):
        images = images.detach().cpu().numpy()
    if isinstance(images, np.ndarray) and images.ndim == 4:
        if images.dtype != np.uint8:
            yield from (images[start : start + size] for start in range(0, len(images), size))
            return
        images = tuple(images)
    given = images if isinstance(images, list | tuple) else (images,)
    yield from (pixels for _, pixels in fit_images(given, spec.preprocessing, size))
