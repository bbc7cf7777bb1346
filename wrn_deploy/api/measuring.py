"""The steps that measure, as functions; their defaults are those of the options' dataclasses."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wrn_deploy.api.shared import BundleLike, StrPath, Three, engine_of, member, opened, shown

if TYPE_CHECKING:
    from wrn_deploy.bench.report.compare import Comparison
    from wrn_deploy.bench.report.report import Boundary, Report
    from wrn_deploy.cluster.options import ClusterOptions
    from wrn_deploy.data.corrupt import MaxCorrupt
    from wrn_deploy.progress import Progress
    from wrn_deploy.spec import Precision

__all__ = ["bench_model", "compare", "evaluate"]


def bench_model(
    bundle: BundleLike,
    data: str,
    *,
    backends: Sequence[str] | None = None,
    precision: Precision | str | None = None,
    batches: Sequence[int] = (1, 8),
    rounds: int = 30,
    iterations: int = 200,
    duration_s: float = 3.0,
    streams: int = 1,
    boundary: Boundary | str = "compute",
    baseline: tuple[str, Precision | str] | None = None,
    everything: bool = False,
    pictures: bool = True,
    threads: int | None = None,
    limit: int | None = None,
    max_corrupt: MaxCorrupt = 0,
    workers: int | None = None,
    time_limit_s: float | None = None,
    server: str | None = None,
    reports: StrPath | None = None,
    restart: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Measures latency, accuracy and memory of every candidate in interleaved rounds: `wrn-deploy bench`.

    Call it below `if __name__ == "__main__":` in a program: each candidate runs in its own process.

    Args:
        bundle: a bundle, or its folder.
        data: labelled images.
        backends: only these; None: all but those for comparison only.
        precision: only this one.
        batches: batch sizes.
        rounds: how often each candidate is measured per batch size.
        iterations: maximum runs per round.
        duration_s: total seconds per candidate and batch size.
        streams: concurrent inferences.
        boundary: what the timer covers: "compute", "transfer" or "e2e".
        baseline: backend and precision to compare the others with; None: fp32.
        everything: also measure variants, other runtimes and experimental precisions.
        pictures: keep thumbnails of images whose predicted class changes.
        threads: CPU threads; None: all cores.
        limit: measure accuracy on the first `limit` images.
        max_corrupt: how many corrupt images to skip at most.
        workers: processes that decode images.
        time_limit_s: seconds for all rounds together, after which fewer are taken.
        server: the HTTP address of a Triton server that serves the bundle, to measure too: the client's round trip.
        reports: a folder for bench.json, .csv, .md and .html; None: none are written.
        restart: discard the rounds that an interrupted call has kept in `reports`; else it goes on after them.
        progress: shows progress and warnings; None: shows nothing.

    Raises:
        UsageError: unknown backend, precision or baseline.
        DeployError: unusable data, or nothing could be measured.
        MachineError: none of the requested candidates can run here.

    Example:
        >>> import wrn_deploy
        >>> options = {"backends": ["onnxruntime"], "batches": [1], "rounds": 1, "limit": 64}
        >>> wrn_deploy.bench_model("bundle", "digits", **options).reference
        'PyTorch CPU fp32'
    """
    from wrn_deploy.bench.report.report import Boundary
    from wrn_deploy.pipeline.measuring.measure import MeasureOptions, bench_bundle
    from wrn_deploy.pipeline.measuring.sittings import KEPT
    from wrn_deploy.pipeline.output_files import check_folder, write_reports
    from wrn_deploy.spec import Precision

    folder = None if reports is None else check_folder(Path(reports))
    options = MeasureOptions(
        data=data,
        backends=None if backends is None else tuple(backends),
        precision=None if precision is None else member(Precision, precision),
        batches=tuple(batches),
        rounds=rounds,
        iterations=iterations,
        duration_s=duration_s,
        streams=streams,
        boundary=member(Boundary, boundary),
        baseline=None if baseline is None else (baseline[0], member(Precision, baseline[1])),
        everything=everything,
        pictures=pictures,
        threads=threads,
        limit=limit,
        max_corrupt=max_corrupt,
        workers=workers,
        time_limit_s=time_limit_s,
        server=server,
        kept=None if folder is None else folder / KEPT,
        restart=restart,
    )
    report = bench_bundle(opened(bundle), options, shown(progress))
    if folder is not None:
        write_reports(report, folder, "bench", shown(progress))
    return report


def evaluate(
    target: StrPath,
    data: str,
    *,
    model: str | None = None,
    weights_key: str = "",
    classes: int | None = None,
    labels: Sequence[str] | None = None,
    mean: Three | None = None,
    std: Three | None = None,
    resize: int | None = None,
    backends: Sequence[str] | None = None,
    precision: Precision | str | None = None,
    everything: bool = False,
    threads: int | None = None,
    limit: int | None = None,
    max_corrupt: MaxCorrupt = 0,
    workers: int | None = None,
    max_drop: float | None = None,
    cluster: ClusterOptions | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measures top-1 and top-5 of a bundle's candidates, or of weights alone: `wrn-deploy eval`.

    Call it below `if __name__ == "__main__":` in a program: each candidate runs in its own process.

    Args:
        target: a bundle's folder, or weights: a file or a name.
        data: labelled images.
        model: this and the next six as in `get_model`; for weights only.
        weights_key: the state dict to use, if the file has several.
        classes: number of classes.
        labels: the names of the classes.
        mean: mean of R, G and B, of a 0..1 image.
        std: standard deviation of R, G and B, of a 0..1 image.
        resize: pixels of an image's shorter side before the centre is cropped.
        backends: only these; None: all but those for comparison only.
        precision: only this one.
        everything: also measure variants, other runtimes and experimental precisions.
        threads: CPU threads; None: all cores.
        limit: use the first `limit` images.
        max_corrupt: how many corrupt images to skip at most.
        workers: processes that decode images.
        max_drop: points of top-1 that a candidate of a bundle may lose against fp32; None: any.
        cluster: answer the images of a bundle's data on Ray, in shards; None: here.
        progress: shows progress and warnings; None: shows nothing.

    Raises:
        GateError: a candidate loses more than `max_drop`.
        UsageError: options for a bundle with weights.
        DeployError: unusable data or weights.
        MachineError: none of the requested candidates can run here.

    Example:
        >>> import wrn_deploy
        >>> report = wrn_deploy.evaluate("bundle", "digits", backends=["onnxruntime"], limit=64)
        >>> report.rows[0].accuracy.images
        64
    """
    from wrn_deploy.models import Overrides
    from wrn_deploy.pipeline.inference.models import BundleOrWeights
    from wrn_deploy.pipeline.measuring.compare import check_drop
    from wrn_deploy.pipeline.measuring.evaluate import evaluate_target
    from wrn_deploy.pipeline.measuring.measure import MeasureOptions
    from wrn_deploy.spec import Precision

    named = None if labels is None else tuple(labels)
    what = BundleOrWeights(
        path=Path(target),
        model=model,
        overrides=Overrides(classes=classes, labels=named, mean=mean, std=std, resize=resize),
        key=weights_key,
    )
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
    if cluster is not None:
        from wrn_deploy.pipeline.measuring.evaluate import open_bundle
        from wrn_deploy.pipeline.spread import spread_evaluation

        report = spread_evaluation(open_bundle(what, "cluster"), options, engine_of(cluster), shown(progress))
    else:
        report = evaluate_target(what, options, shown(progress), gated=max_drop is not None)
    if max_drop is not None:
        check_drop(report, max_drop)
    return report


def compare(
    before: StrPath,
    after: StrPath,
    *,
    reference: tuple[str, Precision | str] | None = None,
    max_regress: float | None = None,
    max_drop: float | None = None,
    strict: bool = False,
) -> Comparison:
    """Compares two reports of `bench_model`, with a gate: `wrn-deploy compare`.

    Args:
        before: the earlier report, a JSON file.
        after: the later one.
        reference: backend and precision whose times divide those of each round before the comparison.
        max_regress: maximum increase of a time, in percent; None: any.
        max_drop: maximum loss of top-1, in points; None: any.
        strict: also fail if the result is open: a slower median, a ratio too noisy to conclude, a missing row.

    Raises:
        GateError: a time or an accuracy is worse than the limits allow.
        DeployError: a file is not a report, or the two cannot be compared.

    Example:
        >>> import wrn_deploy
        >>> wrn_deploy.compare("bench.json", "bench.json").only_before
        ()
    """
    from wrn_deploy.pipeline.measuring.compare import RegressionLimits, check_comparison, compare_files
    from wrn_deploy.spec import Precision

    row = None if reference is None else (reference[0], member(Precision, reference[1]))
    found, _notes = compare_files(Path(os.fspath(before)), Path(os.fspath(after)), row)
    check_comparison(found, RegressionLimits(regress=max_regress, drop=max_drop, strict=strict))
    return found
