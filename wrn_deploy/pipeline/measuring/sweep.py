"""Benchmarks of several bundles as one job; the result of each is its report."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

from wrn_deploy.bench.report.report import Report, read_report
from wrn_deploy.bundle import Bundle
from wrn_deploy.cluster.work import Finished
from wrn_deploy.errors import UsageError
from wrn_deploy.pipeline.measuring.measure import MeasureOptions, bench_bundle
from wrn_deploy.pipeline.measuring.sittings import KEPT
from wrn_deploy.pipeline.output_files import check_folder, reports_of
from wrn_deploy.pipeline.sweep import BundleJob
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Silent

__all__ = ["bench_job", "find_folders", "report_of"]


def find_folders(bundles: tuple[Path, ...], out: Path | None) -> tuple[Path, ...]:
    """The folder for the reports of each bundle: in the bundle, or named after it in `out`.

    Raises:
        UsageError: two bundles would write into one folder.
        DeployError: a bundle cannot be opened, or a folder cannot be written to.
    """
    for bundle in bundles:
        Bundle.open(bundle)
    folders = tuple(reports_of(bundle) if out is None else out / bundle.resolve().name for bundle in bundles)
    doubled = next((folder for folder in folders if folders.count(folder) > 1), None)
    if doubled is not None:
        raise UsageError(f"the reports of two bundles would go to {doubled}: expected bundles with different names")
    return tuple(map(check_folder, folders))


def bench_job(bundles: tuple[Path, ...], folders: tuple[Path, ...], options: MeasureOptions) -> BundleJob:
    """The job; `folders` also keep the rounds of an interrupted benchmark."""
    return BundleJob(title="Benchmarking", bundles=bundles, work=partial(_bench, folders, options))


def _bench(
    folders: tuple[Path, ...], options: MeasureOptions, bundle: Bundle, shard: int, threads: int | None
) -> Finished:
    folder = folders[shard]
    own = dataclasses.replace(options, threads=options.threads or threads, kept=folder / KEPT, logs=folder / "loadgen")
    report = bench_bundle(bundle, own, Silent())
    images = max((row.accuracy.images for row in report.rows if row.accuracy is not None), default=0)
    return Finished(shard=shard, images=images, corrupt=report.corrupt, seconds=0.0, result=report.to_json().encode())


def report_of(finished: Finished) -> Report:
    """The report of a bundle that was benchmarked."""
    with scratch_folder() as folder:
        file = folder / "bench.json"
        file.write_bytes(finished.result or b"")
        return read_report(file)
