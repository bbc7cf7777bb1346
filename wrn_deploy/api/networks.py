"""The networks as functions, as model-zoo users know them: by name, to labels, scores and features."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict, TypeVar, Unpack, cast, overload

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import nn

    from wrn_deploy.data.any_image import AnyImage
    from wrn_deploy.pipeline.inference.models import ModelLike
    from wrn_deploy.pipeline.inference.predict import Prediction
    from wrn_deploy.runtime.runner import Runner
    from wrn_deploy.spec import ModelSpec, Precision

    class Network(nn.Module):
        """A torch module with its description, for type checkers: what `get_model` returns."""

        spec: ModelSpec

    class RunnerChoice(TypedDict, total=False):
        """What runs a bundle, as in `Runner.open`."""

        backend: str | None
        precision: Precision | str | None

    Some = TypeVar("Some", bound=AnyImage)
    Images: TypeAlias = AnyImage | npt.NDArray[np.float32] | torch.Tensor | list[Some] | tuple[Some, ...]

__all__ = ["extract_feat", "get_model", "list_models", "predict", "read_image"]


def list_models(pattern: str | None = None) -> list[str]:
    """Returns the networks' names, by family, such as "wrn-28-10"; any wrn-<depth>-<widen> of depth 6n+4 works too.

    Args:
        pattern: only names that match it, such as "wrn-*" (shell wildcards).

    Raises:
        MachineError: torch is not installed.
    """
    import fnmatch

    from wrn_deploy.models import listed_models

    return [name for name in listed_models() if pattern is None or fnmatch.fnmatchcase(name, pattern)]


def get_model(
    name: str,
    weights: str | os.PathLike[str] | None = None,
    *,
    classes: int | None = None,
    labels: Sequence[str] | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    resize: int | None = None,
    dropout: float | None = None,
    seed: int = 0,
    weights_key: str = "",
) -> Network:
    """Returns the network called `name` in PyTorch, in eval mode, on the current default device.

    It maps normalised images, float32 (N, 3, H, W), to logits, (N, classes). Its description (input size, classes,
    labels, preprocessing) is its attribute `spec`, which is not in its state dict. Weights that name their
    preprocessing bring it with them; `predict` applies it.

    **Without weights it is untrained**: random numbers, the same for the same `seed`; its predictions mean nothing.

    Args:
        name: such as "wrn-16-2" or "wrn-50-2"; `list_models` lists them.
        weights: a file (safetensors, or a state dict of `torch.save`; code in it is never run), or published weights by
            name, such as "torchvision/wide_resnet50_2.IMAGENET1K_V2".
        classes: number of classes, if not the network's (or the weights') usual one.
        labels: the names of the classes.
        mean: mean of R, G and B, of a 0..1 image, that normalises images.
        std: standard deviation of R, G and B, of a 0..1 image.
        resize: pixels of an image's shorter side before the centre is cropped.
        dropout: dropout probability, if the network has dropout.
        seed: of the random weights.
        weights_key: the state dict to use, if a file has several, such as "state_dict"; "." for the top level.

    Raises:
        DeployError: no such network or weights, or weights that do not match it; the text says what does.
        UsageError: a file has two networks, and no `weights_key` says which to use.
        MachineError: torch or safetensors is not installed.

    Example:
        >>> import wrn_deploy
        >>> wrn_deploy.get_model("wrn-16-2", classes=100).spec.classes
        100
    """
    from wrn_deploy.models import Overrides
    from wrn_deploy.pipeline.networks.network import NetworkOptions, load_network
    from wrn_deploy.progress import Silent

    named = None if labels is None else tuple(labels)
    overrides = Overrides(classes=classes, labels=named, dropout=dropout, mean=mean, std=std, resize=resize)
    options = NetworkOptions(model=name, weights=weights, overrides=overrides, seed=seed, key=weights_key)
    return cast("Network", load_network(options, Silent()).network)


@overload
def predict(
    model: ModelLike, image: AnyImage, *, top_k: int | None = None, **choice: Unpack[RunnerChoice]
) -> Prediction: ...
@overload
def predict(
    model: ModelLike, image: list[Some] | tuple[Some, ...], *, top_k: int | None = None, **choice: Unpack[RunnerChoice]
) -> tuple[Prediction, ...]: ...
def predict(
    model: ModelLike,
    image: AnyImage | list[Some] | tuple[Some, ...],
    *,
    top_k: int | None = None,
    backend: str | None = None,
    precision: Precision | str | None = None,
) -> Prediction | tuple[Prediction, ...]:
    """Returns the best classes of an image, or of each of a list of images, as `wrn-deploy predict` does.

    The image is resized, cropped and normalised as the network's description says: the preprocessing of calibration,
    evaluation and `Runner`.

    Args:
        model: the folder of a bundle; a `Runner`, which opens the bundle once for all calls; or a network of
            `get_model`, on whatever device it is.
        image: a path, the bytes of an image file, a Pillow image, or uint8 pixels (height, width, 3), RGB; or a list of
            them.
        top_k: number of classes for each image; 3 if not given.
        backend: what runs a bundle, as in `Runner.open`.
        precision: what runs a bundle, such as "int8".

    Returns:
        `label`, `index` and `score` of the best class, and `best`, the `top_k` best ones with theirs. The score is the
        softmax of the logits, 0..1; the logit, if a bundle returns only its best classes. For a list, a tuple of them.

    Raises:
        UsageError: more classes than there are; `backend` or `precision` for a model that is already open.
        DeployError: not a model, or an image that cannot be read or has the wrong size.
        MachineError: this machine cannot run what was requested.

    Example:
        >>> import numpy, wrn_deploy
        >>> found = wrn_deploy.predict("bundle", numpy.zeros((32, 32, 3), numpy.uint8), top_k=2)
        >>> len(found.best)
        2
    """
    from wrn_deploy.pipeline.inference.predict import PredictOptions, predict_images
    from wrn_deploy.progress import Silent

    given = image if isinstance(image, list | tuple) else (image,)
    found = predict_images(
        model, PredictOptions(images=given, top_k=top_k, backend=backend, precision=precision), Silent()
    ).images
    return found if given is image else found[0]


@overload
def extract_feat(
    model: ModelLike, images: Images[Some], *, maps: Literal[False] = False, **choice: Unpack[RunnerChoice]
) -> npt.NDArray[np.float32]: ...
@overload
def extract_feat(
    model: ModelLike, images: Images[Some], *, maps: Literal[True], **choice: Unpack[RunnerChoice]
) -> tuple[npt.NDArray[np.float32], ...]: ...
def extract_feat(
    model: ModelLike,
    images: Images[Some],
    *,
    maps: bool = False,
    backend: str | None = None,
    precision: Precision | str | None = None,
) -> npt.NDArray[np.float32] | tuple[npt.NDArray[np.float32], ...]:
    """Returns the pooled features of images, which the classifier reads: (N, F) float32; or the feature maps.

    F is 64 times k for WRN-d-k, and 2048 for WRN-50-2.

    Args:
        model: as in `predict`; a bundle must have been exported with `--features`, or `--feature-maps`.
        images: an image or a list of them, as in `predict`; uint8 (N, height, width, 3), N images; or a prepared
            batch: a normalised float32 array or tensor (N, 3, H, W), as the network takes it.
        maps: returns a tuple of the last tensors of each resolution instead, as a detector reads them, finest first:
            (N, channels, height, width) float32 each.
        backend: what runs a bundle, as in `Runner.open`.
        precision: as in `Runner.open`.

    Raises:
        UsageError: there is no image; `backend` or `precision` for a model that is already open.
        DeployError: the bundle returns no features, or as `predict`.
        MachineError: this machine cannot run what was requested.

    Example:
        >>> import numpy, wrn_deploy
        >>> wrn_deploy.extract_feat(wrn_deploy.get_model("wrn-16-2"), numpy.zeros((4, 32, 32, 3), numpy.uint8)).shape
        (4, 128)
    """
    from wrn_deploy.pipeline.inference.predict import extract_features

    found = extract_features(model, images, backend, precision, maps=maps)
    return found if maps else found[0]


def read_image(image: AnyImage, runner: Runner) -> npt.NDArray[np.uint8]:
    """One image as a runner or a `Batcher` takes it, decoded, resized and cropped as `predict` does; for services.

    It works in the calling thread, so other threads can decode at the same time, and within the limits of `--limit`.
    `predict` decodes in another process, which native code that crashes cannot take along.

    Args:
        image: a path, the bytes of an image file such as a JPEG, a Pillow image, or a uint8 array (height, width, 3).
        runner: what is to run it; its bundle says how images are prepared.

    Returns:
        uint8 (height, width, 3), RGB, at the network's size.

    Raises:
        DeployError: it cannot be read or decoded, is over a limit, or does not have the network's size, and the bundle
            does not resize.

    Example:
        >>> import wrn_deploy
        >>> picture = wrn_deploy.example("example").picture.read_bytes()
        >>> with wrn_deploy.Runner.open("example", backend="onnxruntime") as runner:
        ...     logits = runner.predict(wrn_deploy.read_image(picture, runner)[None])
        >>> logits.argmax().item()
        7
    """
    from wrn_deploy.data.any_image import fit_images

    _, images = next(fit_images([image], runner.bundle.spec.preprocessing, 1))
    fitted: npt.NDArray[np.uint8] = images[0]
    return fitted
