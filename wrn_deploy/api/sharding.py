"""The steps that several machines share, as functions; their defaults are those of the options' dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wrn_deploy.api.quantizing import calibrate_options
from wrn_deploy.api.shared import BundleLike, StrPath, member, opened, shown

if TYPE_CHECKING:
    from wrn_deploy.bench.report.report import Report
    from wrn_deploy.calib.options import Rounding, WeightScales
    from wrn_deploy.data.corrupt import MaxCorrupt
    from wrn_deploy.data.sampling.shard_set import ShardResult
    from wrn_deploy.manifest import Artifact
    from wrn_deploy.progress import Progress
    from wrn_deploy.spec import Precision

__all__ = ["calibrate_shard", "evaluate_shard", "merge_calibration", "merge_evaluation"]


def calibrate_shard(
    bundle: BundleLike,
    data: str,
    shard: tuple[int, int],
    out: StrPath,
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
    progress: Progress | None = None,
) -> ShardResult:
    """Collects the ranges of one shard of the images, for `merge_calibration`: `wrn-deploy calibrate --shard I/N`.

    Args:
        bundle: a bundle, or its folder; it is unchanged.
        data: images, labelled or not.
        shard: I and N: shard I of N, from 0.
        out: the folder for the shard's file.
        size: this and the next seven as in `calibrate`, and the same for each shard; `size` is that of all together.
        method: "mse", "max", "percentile" or "entropy".
        percentile: percentage of magnitudes that the method "percentile" keeps.
        equalize: rescale channels so that one scale suits all.
        exact_input: feed exact pixel codes to the first Conv; None: if it helps.
        full_range: shift ReLU outputs to use all int8 codes.
        weight_scales: "per-channel" or "per-tensor".
        rounding: of weights: "feedback" or "nearest".
        threads: CPU threads; None: one per core.
        max_corrupt: how many corrupt images to skip at most, in all shards together.
        workers: processes that decode images.
        progress: shows progress and warnings; None: shows nothing.

    Raises:
        DeployError: no such method, the bundle has no graphs, or unusable data.
        UsageError: a value is out of range.

    Example:
        >>> import wrn_deploy
        >>> wrn_deploy.calibrate_shard("bundle", "digits", (0, 8), "shards", size=64).images
        8
    """
    from wrn_deploy.data.sampling.block import Block
    from wrn_deploy.pipeline.quantization.shards import calibrate_shard

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
    block = Block(index=shard[0], count=shard[1])
    return calibrate_shard(opened(bundle), options, block, Path(out), shown(progress))


def merge_calibration(
    bundle: BundleLike, shards: Sequence[StrPath], *, threads: int | None = None, progress: Progress | None = None
) -> Artifact:
    """Makes table and int8 graphs from shards, the same as one pass: `wrn-deploy calibrate --merge PATH`.

    Args:
        bundle: the bundle that the shards were collected from, or its folder.
        shards: files of `calibrate_shard`, or folders of them, in any order.
        threads: CPU threads; None: one per core.
        progress: shows progress and warnings; None: shows nothing.

    Raises:
        DeployError: a shard is missing, doubled, damaged, or from another bundle, data, options, CPU or version.
        UsageError: there are no shards.

    Example:
        >>> import wrn_deploy
        >>> made = [wrn_deploy.calibrate_shard("bundle", "digits", (index, 2), "shards", size=64) for index in (0, 1)]
        >>> wrn_deploy.merge_calibration("bundle", ["shards"]).path
        'calibration.json'
    """
    from wrn_deploy.pipeline.quantization.shards import merge_calibration

    return merge_calibration(opened(bundle), [Path(shard) for shard in shards], shown(progress), threads=threads)


def evaluate_shard(
    bundle: BundleLike,
    data: str,
    shard: tuple[int, int],
    out: StrPath,
    *,
    backends: Sequence[str] | None = None,
    precision: Precision | str | None = None,
    everything: bool = False,
    threads: int | None = None,
    limit: int | None = None,
    max_corrupt: MaxCorrupt = 0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> ShardResult:
    """Collects the answers to one shard of the images, for `merge_evaluation`: `wrn-deploy eval --shard I/N`.

    Call it below `if __name__ == "__main__":` in a program: each candidate runs in its own process.

    Args:
        bundle: a bundle, or its folder.
        data: labelled images.
        shard: I and N: shard I of N, from 0.
        out: the folder for the shard's file.
        backends: only these; None: all but those for comparison only.
        precision: only this one.
        everything: also measure variants, other runtimes and experimental precisions.
        threads: CPU threads; None: all cores; the same for each shard.
        limit: use the first `limit` images, in all shards together.
        max_corrupt: how many corrupt images to skip at most, in all shards together.
        workers: processes that decode images.
        progress: shows progress and warnings; None: shows nothing.

    Raises:
        UsageError: unknown backend or precision, or more shards than batches of images.
        DeployError: unusable data, or nothing could be measured.
        MachineError: none of the requested candidates can run here.

    Example:
        >>> import wrn_deploy
        >>> wrn_deploy.evaluate_shard("bundle", "digits", (0, 4), "shards", backends=["onnxruntime"], threads=1).images
        64
    """
    from wrn_deploy.data.sampling.block import Block
    from wrn_deploy.pipeline.measuring.measure import MeasureOptions
    from wrn_deploy.pipeline.measuring.shards import evaluate_shard
    from wrn_deploy.spec import Precision

    options = MeasureOptions(
        data=data,
        backends=None if backends is None else tuple(backends),
        precision=None if precision is None else member(Precision, precision),
        everything=everything,
        threads=threads,
        limit=limit,
        max_corrupt=max_corrupt,
        workers=workers,
    )
    block = Block(index=shard[0], count=shard[1])
    return evaluate_shard(opened(bundle), options, block, Path(out), shown(progress))


def merge_evaluation(
    bundle: BundleLike, data: str, shards: Sequence[StrPath], *, progress: Progress | None = None
) -> Report:
    """Makes the report from shards, the same as one pass: `wrn-deploy eval --merge PATH`.

    Args:
        bundle: the bundle that was evaluated, or its folder.
        data: the images, of which some whose class changed are looked up.
        shards: files of `evaluate_shard`, or folders of them, in any order.
        progress: shows progress and warnings; None: shows nothing.

    Raises:
        DeployError: a shard is missing, doubled, damaged, or from another bundle, data, options, CPU or version.
        UsageError: there are no shards.

    Example:
        >>> import wrn_deploy
        >>> options = {"backends": ["onnxruntime"], "limit": 128, "threads": 1}
        >>> made = [wrn_deploy.evaluate_shard("bundle", "digits", (index, 2), "shards", **options) for index in (0, 1)]
        >>> wrn_deploy.merge_evaluation("bundle", "digits", ["shards"]).rows[0].accuracy.images
        128
    """
    from wrn_deploy.pipeline.measuring.measure import MeasureOptions
    from wrn_deploy.pipeline.measuring.shards import merge_evaluation

    options = MeasureOptions(data=data)
    return merge_evaluation(opened(bundle), options, [Path(shard) for shard in shards], shown(progress))
