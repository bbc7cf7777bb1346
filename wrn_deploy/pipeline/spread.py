"""Calibration and evaluation whose shards an engine runs, such as a cluster; their results are merged here."""

from __future__ import annotations

from wrn_deploy.bench.report.report import Report
from wrn_deploy.bundle import Bundle
from wrn_deploy.cluster.work import Engine, Finished, Job
from wrn_deploy.manifest import Artifact
from wrn_deploy.pipeline.inference.models import images_together
from wrn_deploy.pipeline.measuring.measure import MeasureOptions, open_labelled
from wrn_deploy.pipeline.measuring.shards import EvaluationJob, merge_evaluation_shards
from wrn_deploy.pipeline.quantization.calibrate import find_base
from wrn_deploy.pipeline.quantization.images import CalibrateOptions, CalibrationImages
from wrn_deploy.pipeline.quantization.shards import CalibrationJob, merge_calibration_shards
from wrn_deploy.progress import Progress

__all__ = ["SHARDS", "spread_calibration", "spread_evaluation"]

SHARDS = 16  # enough for the workers of most clusters; the result does not depend on it


def spread_calibration(
    bundle: Bundle, options: CalibrateOptions, engine: Engine, progress: Progress, shards: int = SHARDS
) -> Artifact:
    """Calibrates as `calibrate_bundle`, to the same bits: the engine collects the shards.

    Raises:
        DeployError: as `calibrate_bundle`, and as the engine.
    """
    find_base(bundle, options.method)  # what a bundle lacks is better known before a cluster starts
    chosen = CalibrationImages(bundle, options).chosen
    job = CalibrationJob(folder=bundle.folder, options=options, count=min(shards, chosen))
    return merge_calibration_shards(bundle, _results(job, engine, progress), progress, threads=options.threads)


def spread_evaluation(
    bundle: Bundle, options: MeasureOptions, engine: Engine, progress: Progress, shards: int = SHARDS
) -> Report:
    """Evaluates as `evaluate_bundle`, with the same answers: the engine asks about the shards.

    Raises:
        DeployError: as `evaluate_bundle`, and as the engine.
    """
    available = len(open_labelled(bundle, options.data, progress))
    units = -(-min(available, options.limit or available) // images_together(bundle.spec))
    job = EvaluationJob(folder=bundle.folder, options=options, count=min(shards, units))
    return merge_evaluation_shards(bundle, options, _results(job, engine, progress), progress)


def _results(job: Job, engine: Engine, progress: Progress) -> dict[str, bytes]:
    """The shards by name, in their order, whichever is done first."""
    found: dict[int, bytes] = {}

    def take(finished: Finished) -> None:
        found[finished.shard] = finished.result or b""

    engine(job, take, progress)
    return {job.describe(shard): found[shard] for shard in job.shards}
