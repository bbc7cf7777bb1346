"""The steps that quantize and check it, as functions; their defaults are those of the options' dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wrn_deploy.api.shared import BundleLike, StrPath, engine_of, member, opened, shown

if TYPE_CHECKING:
    from wrn_deploy.bench.report.finetuning import Finetuning
    from wrn_deploy.bench.report.tuning import Tuning
    from wrn_deploy.calib.lint.finding import Target
    from wrn_deploy.calib.options import Loss, Rounding, WeightScales
    from wrn_deploy.cluster.options import ClusterOptions
    from wrn_deploy.data.corrupt import MaxCorrupt
    from wrn_deploy.manifest import Artifact
    from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions
    from wrn_deploy.pipeline.quantization.lint import LintReport
    from wrn_deploy.progress import Progress

__all__ = ["calibrate", "calibrate_options", "finetune", "lint", "tune"]


def calibrate(
    bundle: BundleLike,
    data: str,
    *,
    size: int = 256,
    method: str = "mse",
    percentile: float = 99.99,
    equalize: bool = True,
    exact_input: bool | None = None,
    full_range: bool = True,
    weight_scales: WeightScales | str = "per-channel",
    rounding: Rounding | str = "feedback",
    threads: int | None = None,
    max_corrupt: MaxCorrupt = 0,
    workers: int | None = None,
    cluster: ClusterOptions | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Calibrates on real images, writes the int8 graphs, and returns the table's artifact: `wrn-deploy calibrate`.

    Args:
        bundle: a bundle, or its folder.
        data: images, labelled or not.
        size: number of images, sampled evenly from the data.
        method: "mse", "max", "percentile" or "entropy".
        percentile: percentage of magnitudes that the method "percentile" keeps.
        equalize: rescale channels so that one scale suits all; exact in fp32.
        exact_input: feed exact pixel codes to the first Conv; None: if it helps.
        full_range: shift ReLU outputs to use all int8 codes.
        weight_scales: "per-channel" or "per-tensor".
        rounding: of weights: "feedback" or "nearest".
        threads: CPU threads; None: one per core.
        max_corrupt: how many corrupt images to skip at most.
        workers: processes that decode images.
        cluster: collect from the images on Ray, in shards; None: here. The result is the same.
        progress: shows progress and warnings; None: shows nothing.

    Raises:
        DeployError: no such method, the bundle has no graphs, or unusable data.
        UsageError: a value is out of range.

    Example:
        >>> import wrn_deploy
        >>> wrn_deploy.calibrate("bundle", "digits", size=64).path
        'calibration.json'
    """
    from wrn_deploy.pipeline.quantization.calibrate import calibrate_bundle

    options = calibrate_options(
        data,
        size=size,
        method=method,
        percentile=percentile,
        equalize=equalize,
        exact_input=exact_input,
        full_range=full_range,
        weight_scales=weight_scales,
        rounding=rounding,
        threads=threads,
        max_corrupt=max_corrupt,
        workers=workers,
    )
    if cluster is not None:
        from wrn_deploy.pipeline.spread import spread_calibration

        return spread_calibration(opened(bundle), options, engine_of(cluster), shown(progress))
    return calibrate_bundle(opened(bundle), options, shown(progress))


def calibrate_options(
    data: str,
    *,
    exact_input: bool | None,
    full_range: bool,
    weight_scales: WeightScales | str,
    rounding: Rounding | str,
    **more: Any,
) -> CalibrateOptions:
    """The options that the pipeline takes, from those of a function; `more` are the fields that have the same names."""
    from wrn_deploy.calib.options import Rounding, WeightScales
    from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions
    from wrn_deploy.pipeline.quantization.quantize import Quantization

    quantization = Quantization(
        exact_input=exact_input,
        full_range=full_range,
        weights=member(WeightScales, weight_scales),
        rounding=member(Rounding, rounding),
    )
    return CalibrateOptions(data=data, quantization=quantization, **more)


def tune(
    bundle: BundleLike,
    data: str,
    *,
    max_drop: float | None = None,
    min_agreement: float | None = None,
    threads: int | None = None,
    limit: int | None = None,
    max_corrupt: MaxCorrupt = 0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Tuning:
    """Finds the Convs that lose accuracy in int8, and keeps the fewest in fp16 within a budget: `wrn-deploy tune`.

    Args:
        bundle: a calibrated bundle, or its folder.
        data: labelled images to measure the budget on.
        max_drop: maximum loss of top-1 against fp32, in points; give this, `min_agreement` or both.
        min_agreement: minimum percentage of images with fp32's prediction.
        threads: CPU threads; None: one per core.
        limit: use the first `limit` images.
        max_corrupt: how many corrupt images to skip at most.
        workers: processes that decode images.
        progress: shows progress and warnings; None: shows nothing.

    Raises:
        GateError: no set of Convs meets the budget; the bundle is unchanged.
        UsageError: no budget, or the bundle is not calibrated.
        DeployError: the bundle lacks graphs, or unusable data.

    Example:
        >>> import wrn_deploy
        >>> wrn_deploy.tune("bundle", "digits", max_drop=5.0, limit=64).chosen is not None
        True
    """
    from wrn_deploy.pipeline.tuning.tune import TuneOptions, check_tuning, tune_bundle

    options = TuneOptions(
        data=data,
        max_drop=max_drop,
        min_agreement=min_agreement,
        threads=threads,
        limit=limit,
        max_corrupt=max_corrupt,
        workers=workers,
    )
    tuning = tune_bundle(opened(bundle), options, shown(progress))
    check_tuning(tuning)
    return tuning


def finetune(
    bundle: BundleLike,
    data: str,
    *,
    test_data: str | None = None,
    targets: Sequence[Target | str] = ("tensorrt", "onnxruntime"),
    loss: Loss | str = "distill",
    steps: int = 200,
    epochs: float | None = None,
    batch: int = 64,
    rate: float = 0.01,
    scales: bool = True,
    seed: int = 0,
    mirror: bool = True,
    shift: int = 4,
    limit: int | None = None,
    threads: int | None = None,
    max_corrupt: MaxCorrupt = 0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Finetuning:
    """Fine-tunes the int8 graphs, and writes those that improve on held-out images: `wrn-deploy finetune`.

    Args:
        bundle: a calibrated bundle, or its folder.
        data: training images; labelled for the losses "labels" and "both".
        test_data: held-out images; None: some of `data`.
        targets: the runtimes whose graphs are trained.
        loss: "distill" (fp32's outputs), "labels" or "both".
        steps: optimizer steps.
        epochs: instead of `steps`.
        batch: images per step.
        rate: initial learning rate, in int8 steps; decays to 0.
        scales: train the scales too.
        seed: of order and augmentation.
        mirror: mirror half of the images, if the data allows it.
        shift: shift images by up to `shift` pixels.
        limit: use `limit` images, sampled evenly.
        threads: CPU threads; None: PyTorch's choice.
        max_corrupt: how many corrupt images to skip at most.
        workers: processes that decode images.
        progress: shows progress and warnings; None: shows nothing.

    Raises:
        GateError: no graph improved; the bundle is unchanged.
        UsageError: the bundle is not calibrated, or a value is out of range.
        DeployError: unusable data, or the training diverged.
        MachineError: torch is missing.

    Example:
        >>> import wrn_deploy
        >>> try:
        ...     graphs = wrn_deploy.finetune("bundle", "digits", steps=5).graphs
        ... except wrn_deploy.GateError:
        ...     graphs = ()  # five steps need not make anything better
    """
    from wrn_deploy.calib.lint.finding import Target
    from wrn_deploy.calib.options import Loss
    from wrn_deploy.pipeline.finetuning.finetune import FinetuneOptions, Schedule, check_finetuning, finetune_bundle

    options = FinetuneOptions(
        data=data,
        test_data=test_data,
        schedule=Schedule(steps=steps, batch=batch, rate=rate, loss=member(Loss, loss), scales=scales, seed=seed),
        epochs=epochs,
        targets=tuple(member(Target, target) for target in targets),
        limit=limit,
        mirror=mirror,
        shift=shift,
        threads=threads,
        max_corrupt=max_corrupt,
        workers=workers,
    )
    result = finetune_bundle(opened(bundle), options, shown(progress))
    check_finetuning(result)
    return result


def lint(file: StrPath, *, target: Target | str | None = None) -> LintReport:
    """Finds what keeps a Q/DQ graph from running in int8: `wrn-deploy lint`. Findings raise nothing.

    Args:
        file: an ONNX file, of a bundle or from elsewhere.
        target: "tensorrt" or "onnxruntime"; None: the one that the graph's zero points suggest.

    Raises:
        DeployError: the file is not an ONNX graph, or is in fp8.
        MachineError: onnx is not installed.

    Example:
        >>> import wrn_deploy
        >>> wrn_deploy.lint("bundle/int8-tensorrt.onnx").int8_convs > 0
        True
    """
    from wrn_deploy.calib.lint.finding import Target
    from wrn_deploy.pipeline.quantization.lint import lint_file

    return lint_file(Path(file), None if target is None else member(Target, target))
