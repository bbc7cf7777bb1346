"""Benchmarks of several bundles as one job: each bundle is a shard, whose result is its report."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.bench.report.report import Report, read_report
from wrn_deploy.bundle import Bundle
from wrn_deploy.cluster.work import Finished
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.pipeline.measuring.measure import MeasureOptions, bench_bundle
from wrn_deploy.pipeline.measuring.sittings import KEPT
from wrn_deploy.pipeline.output_files import check_folder, reports_of
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Silent

__all__ = ["BenchJob", "plan_sweep", "report_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchJob:
    """A `cluster.work.Job` that benchmarks bundles, which every node opens by their paths.

    Args:
        bundles: their folders.
        folders: where their reports go, and the rounds of an interrupted benchmark.
        options: what is measured of each.
    """

    bundles: tuple[Path, ...]
    folders: tuple[Path, ...]
    options: MeasureOptions

    @property
    def title(self) -> str:
        """For progress."""
        return "Benchmarking"

    @property
    def shards(self) -> tuple[int, ...]:
        """The bundles by number."""
        return tuple(range(len(self.bundles)))

    def describe(self, shard: int) -> str:
        """The bundle's folder."""
        return str(self.bundles[shard])

    @contextlib.contextmanager
    def open(self, threads: int | None) -> Iterator[_BenchWorker]:
        """Needs nothing before a bundle is there; `threads` are the cores that a benchmark has."""
        yield _BenchWorker(self, threads)


@dataclass(frozen=True, slots=True)
class _BenchWorker:
    job: BenchJob
    threads: int | None

    def run(self, shard: int) -> Finished:
        """Measures one bundle; the result is the report's JSON.

        Raises:
            DeployError: as `bench_bundle`; the text begins with the bundle.
        """
        began, job = time.perf_counter(), self.job
        folder = job.folders[shard]
        options = dataclasses.replace(
            job.options, threads=job.options.threads or self.threads, kept=folder / KEPT, logs=folder / "loadgen"
        )
        try:
            report = bench_bundle(Bundle.open(job.bundles[shard]), options, Silent())
        except DeployError as error:
            raise type(error)(f"{job.describe(shard)}: {error}") from error
        images = max((row.accuracy.images for row in report.rows if row.accuracy is not None), default=0)
        return Finished(
            shard=shard, images=images, corrupt=report.corrupt, seconds=time.perf_counter() - began,
            result=report.to_json().encode(),
        )  # fmt: skip


def plan_sweep(bundles: tuple[Path, ...], options: MeasureOptions, out: Path | None) -> BenchJob:
    """The job, with a folder for the reports of each bundle: in the bundle, or named after it in `out`.

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
    return BenchJob(bundles=bundles, folders=tuple(map(check_folder, folders)), options=options)


def report_of(finished: Finished) -> Report:
    """The report of a bundle that was benchmarked."""
    with scratch_folder() as folder:
        file = folder / "bench.json"
        file.write_bytes(finished.result or b"")
        return read_report(file)
