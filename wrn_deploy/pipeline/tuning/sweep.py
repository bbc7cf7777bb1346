"""Tuning of several bundles as one job; the result of each is its record."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

from wrn_deploy.bench.report.tuning import Tuning, read_tuning
from wrn_deploy.bundle import Bundle
from wrn_deploy.cluster.work import Finished
from wrn_deploy.pipeline.sweep import BundleJob
from wrn_deploy.pipeline.tuning.tune import TuneOptions, check_tunable, tune_bundle
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Silent

__all__ = ["plan_tuning", "tuning_of"]


def plan_tuning(bundles: tuple[Path, ...], options: TuneOptions) -> BundleJob:
    """The job; raises as `tune_bundle` does before it reads images."""
    for bundle in bundles:
        check_tunable(Bundle.open(bundle), options)
    return BundleJob(title="Tuning", bundles=bundles, work=partial(_tune, options))


def _tune(options: TuneOptions, bundle: Bundle, shard: int, threads: int | None) -> Finished:
    own = dataclasses.replace(options, threads=options.threads or threads)
    tuning = tune_bundle(bundle, own, Silent())
    return Finished(shard=shard, images=tuning.reference.images, seconds=0.0, result=tuning.to_json().encode())


def tuning_of(finished: Finished) -> Tuning:
    """The record of a bundle that was tuned."""
    with scratch_folder() as folder:
        file = folder / "tuning.json"
        file.write_bytes(finished.result or b"")
        return read_tuning(file)
