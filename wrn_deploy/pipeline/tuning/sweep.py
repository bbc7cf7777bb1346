"""Tuning of several bundles as one job: each bundle is a shard, which a node changes where it is."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.bench.report.tuning import Tuning, read_tuning
from wrn_deploy.bundle import Bundle
from wrn_deploy.cluster.work import Finished
from wrn_deploy.errors import DeployError
from wrn_deploy.pipeline.tuning.tune import TuneOptions, check_tunable, tune_bundle
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Silent

__all__ = ["TuneJob", "plan_tuning", "tuning_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneJob:
    """A `cluster.work.Job` that tunes bundles, which every node opens and changes by their paths.

    Args:
        bundles: their folders.
        options: the budget, and the images.
    """

    bundles: tuple[Path, ...]
    options: TuneOptions

    @property
    def title(self) -> str:
        """For progress."""
        return "Tuning"

    @property
    def shards(self) -> tuple[int, ...]:
        """The bundles by number."""
        return tuple(range(len(self.bundles)))

    def describe(self, shard: int) -> str:
        """The bundle's folder."""
        return str(self.bundles[shard])

    @contextlib.contextmanager
    def open(self, threads: int | None) -> Iterator[_TuneWorker]:
        """Needs nothing before a bundle is there."""
        yield _TuneWorker(self, threads)


@dataclass(frozen=True, slots=True)
class _TuneWorker:
    job: TuneJob
    threads: int | None

    def run(self, shard: int) -> Finished:
        """Tunes one bundle; the result is the record's JSON.

        Raises:
            DeployError: as `tune_bundle`; the text begins with the bundle.
        """
        began, job = time.perf_counter(), self.job
        options = dataclasses.replace(job.options, threads=job.options.threads or self.threads)
        try:
            tuning = tune_bundle(Bundle.open(job.bundles[shard]), options, Silent())
        except DeployError as error:
            raise type(error)(f"{job.describe(shard)}: {error}") from error
        seconds = time.perf_counter() - began
        return Finished(shard=shard, images=tuning.reference.images, seconds=seconds, result=tuning.to_json().encode())


def plan_tuning(bundles: tuple[Path, ...], options: TuneOptions) -> TuneJob:
    """The job; raises as `tune_bundle` does before it reads images."""
    for bundle in bundles:
        check_tunable(Bundle.open(bundle), options)
    return TuneJob(bundles=bundles, options=options)


def tuning_of(finished: Finished) -> Tuning:
    """The record of a bundle that was tuned."""
    with scratch_folder() as folder:
        file = folder / "tuning.json"
        file.write_bytes(finished.result or b"")
        return read_tuning(file)
