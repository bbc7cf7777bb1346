"""The steps that make a bundle, as functions; their defaults are those of the options' dataclasses."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wrn_deploy.api.shared import StrPath, Three, shown

if TYPE_CHECKING:
    from wrn_deploy.bundle import Bundle
    from wrn_deploy.data.corrupt import MaxCorrupt
    from wrn_deploy.pipeline.deploy import Deployment
    from wrn_deploy.pipeline.inference.example import Example
    from wrn_deploy.progress import Progress

__all__ = ["deploy", "example", "export_model", "import_model"]


def deploy(
    weights: StrPath,
    calib_data: str,
    out: StrPath,
    *,
    model: str | None = None,
    data: str | None = None,
    int8: bool = False,
    max_drop: float = 0.5,
    limit: int | None = None,
    weights_key: str = "",
    classes: int | None = None,
    labels: Sequence[str] | None = None,
    mean: Three | None = None,
    std: Three | None = None,
    resize: int | None = None,
    size: int = 256,
    method: str = "mse",
    percentile: float = 99.99,
    threads: int | None = None,
    max_corrupt: MaxCorrupt = 0,
    workers: int | None = None,
    replace: bool = False,
    progress: Progress | None = None,
) -> Deployment:
    """Exports, calibrates, builds the plans that this machine can build, and measures accuracy: `wrn-deploy deploy`.

    Args:
        weights: a file, or a name such as "timm/wide_resnet50_2.racm_in1k".
        calib_data: calibration images.
        out: the bundle's folder.
        model: the network's name; None: the weights name it.
        data: labelled images to measure accuracy on; None: skip this step and its gate.
        int8: build and measure int8 only.
        max_drop: points of top-1 that a candidate may lose against fp32.
        limit: measure accuracy on the first `limit` images.
        weights_key: the state dict to use, if the file has several.
        classes: this and the next four as in `get_model`.
        labels: the names of the classes.
        mean: mean of R, G and B, of a 0..1 image.
        std: standard deviation of R, G and B, of a 0..1 image.
        resize: pixels of an image's shorter side before the centre is cropped.
        size: this and the next two as in `calibrate`.
        method: of calibration.
        percentile: of the method "percentile".
        threads: CPU threads; None: one per core.
        max_corrupt: how many corrupt images to skip at most.
        workers: processes that decode images.
        replace: replace an existing bundle of another network.
        progress: shows progress and warnings; None: shows nothing.

    Raises:
        GateError: a graph differs from PyTorch, a plan misses the requested precision, or a candidate loses
            too much accuracy; the bundle is complete in the last case.
        UsageError: options that contradict each other.
        DeployError: unusable weights or data.
        MachineError: a package is missing.

    Example:
        >>> import wrn_deploy
        >>> made = wrn_deploy.deploy("weights.safetensors", "digits", "deployed", data="digits", size=64, max_drop=5)
        >>> made.report.reference
        'PyTorch CPU fp32'
    """
    from wrn_deploy.models import Overrides
    from wrn_deploy.pipeline.deploy import PLANS, DeployOptions, check_deployment, deploy_weights
    from wrn_deploy.pipeline.measuring.measure import MeasureOptions
    from wrn_deploy.pipeline.networks.export import ExportOptions
    from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions
    from wrn_deploy.spec import Precision

    only = Precision.INT8 if int8 else None
    read: dict[str, Any] = {"threads": threads, "max_corrupt": max_corrupt, "workers": workers}
    named = None if labels is None else tuple(labels)
    options = DeployOptions(
        export=ExportOptions(
            model=model,
            out=Path(out),
            weights=os.fspath(weights),
            weights_key=weights_key,
            overrides=Overrides(classes=classes, labels=named, mean=mean, std=std, resize=resize),
            replace=replace,
        ),
        calibrate=CalibrateOptions(data=calib_data, size=size, method=method, percentile=percentile, **read),
        plans=PLANS if only is None else (only,),
        measure=None if data is None else MeasureOptions(data=data, precision=only, limit=limit, **read),
        max_drop=max_drop,
    )
    made = deploy_weights(options, shown(progress))
    check_deployment(made)
    return made


def example(out: StrPath = "example", *, progress: Progress | None = None) -> Example:
    """Copies a small trained bundle and a picture into a folder: `wrn-deploy example`. Needs no PyTorch.

    Args:
        out: the folder; a whole copy that is there already stays.
        progress: shows progress and warnings; None: shows nothing.

    Raises:
        DeployError: the folder holds something else.

    Example:
        >>> import wrn_deploy
        >>> copied = wrn_deploy.example("new-example")
        >>> wrn_deploy.predict(copied.bundle, copied.picture).label
        '7'
    """
    from wrn_deploy.pipeline.inference.example import copy_example

    return copy_example(Path(out), shown(progress))


def export_model(
    weights: StrPath | None,
    out: StrPath,
    *,
    model: str | None = None,
    random_weights: bool = False,
    seed: int = 0,
    weights_key: str = "",
    classes: int | None = None,
    labels: Sequence[str] | None = None,
    mean: Three | None = None,
    std: Three | None = None,
    resize: int | None = None,
    bf16: bool = False,
    pixels: bool = False,
    top_k: int | None = None,
    features: bool = False,
    feature_maps: bool = False,
    replace: bool = False,
    progress: Progress | None = None,
) -> Bundle:
    """Makes a bundle of fp32 and fp16 graphs, checked against PyTorch: `wrn-deploy export`.

    Args:
        weights: a file, or a name such as "timm/wide_resnet50_2.racm_in1k"; None with `random_weights`.
        out: the bundle's folder.
        model: the network's name; None: the weights name it.
        random_weights: make untrained weights, for speed tests only.
        seed: of the random weights.
        weights_key: the state dict to use, if the file has several.
        classes: this and the next four as in `get_model`.
        labels: the names of the classes.
        mean: mean of R, G and B, of a 0..1 image.
        std: standard deviation of R, G and B, of a 0..1 image.
        resize: pixels of an image's shorter side before the centre is cropped.
        bf16: also write a bf16 graph; experimental.
        pixels: graphs take pixels, uint8 (N, H, W, 3), and normalise them.
        top_k: graphs output the best `top_k` classes instead of all logits.
        features: graphs also output the pooled features.
        feature_maps: graphs also output the last tensor of each resolution.
        replace: replace an existing bundle of another network.
        progress: shows progress and warnings; None: shows nothing.

    Raises:
        UsageError: neither weights nor `random_weights`, or both; the folder contains another network's bundle.
        DeployError: bad weights, or a folder that contains other files.
        GateError: a graph does not compute what the network computes.
        MachineError: a package is missing.

    Example:
        >>> import wrn_deploy
        >>> sorted(wrn_deploy.export_model("weights.safetensors", "exported").artifacts)
        ['onnx-fp16', 'onnx-fp32', 'weights']
    """
    from wrn_deploy.models import Overrides
    from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle

    named = None if labels is None else tuple(labels)
    options = ExportOptions(
        model=model,
        out=Path(out),
        weights=None if weights is None else os.fspath(weights),
        random_weights=random_weights,
        seed=seed,
        weights_key=weights_key,
        overrides=Overrides(classes=classes, labels=named, mean=mean, std=std, resize=resize),
        bf16=bf16,
        pixels=pixels,
        top_k=top_k,
        features=features,
        feature_maps=feature_maps,
        replace=replace,
    )
    return export_bundle(options, shown(progress))


def import_model(
    file: StrPath,
    out: StrPath,
    *,
    mean: Three,
    std: Three,
    labels: Sequence[str] = (),
    name: str | None = None,
    resize: int | None = None,
    crop: int | None = None,
    interpolation: str = "bilinear",
    replace: bool = False,
    progress: Progress | None = None,
) -> Bundle:
    """Makes a bundle from another tool's ONNX classifier, and checks it against the file: `wrn-deploy import`.

    Args:
        file: the ONNX file; its external data must be next to it.
        out: the bundle's folder.
        mean: mean of R, G and B, of a 0..1 image; zeros if the graph normalises.
        std: standard deviation of R, G and B, of a 0..1 image; ones if the graph normalises.
        labels: the names of the classes.
        name: the network's name; None: the file's.
        resize: pixels of an image's shorter side before the centre is cropped.
        crop: height and width of the input, if the graph does not fix them.
        interpolation: of the resize: "bilinear" or "bicubic".
        replace: replace an existing bundle of another network.
        progress: shows progress and warnings; None: shows nothing.

    Raises:
        UsageError: the size of the input must be given, or contradicts the graph's; the folder contains another
            network's bundle.
        DeployError: an unsupported operator, by its name; not a classifier; a damaged file.
        GateError: the bundle's graph does not compute what the file computes.
        MachineError: a package is missing.

    Example:
        >>> import wrn_deploy
        >>> bundle = wrn_deploy.import_model("net.onnx", "imported", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
        >>> bundle.spec.classes
        10
    """
    from wrn_deploy.pipeline.networks.importing import ImportOptions, import_onnx

    options = ImportOptions(
        file=Path(file),
        out=Path(out),
        mean=mean,
        std=std,
        labels=tuple(labels),
        name=name,
        resize=resize,
        crop=crop,
        interpolation=interpolation,
        replace=replace,
    )
    return import_onnx(options, shown(progress))
