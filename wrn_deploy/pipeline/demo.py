"""Runs every step once, in order, on the embedded digits: from training to the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.bench.report.report import Report
from wrn_deploy.pipeline.deploy import MAX_DROP, PLANS, build_plans
from wrn_deploy.pipeline.measuring.compare import check_drop
from wrn_deploy.pipeline.measuring.measure import MeasureOptions, bench_bundle
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.output_files import check_folder, write_reports
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.training.train import STATE, TrainOptions, train_model
from wrn_deploy.progress import Progress
from wrn_deploy.training.recipe import TrainRecipe

__all__ = ["DemoOptions", "run_demo"]

DATA = "digits"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """The folder, and how long to train; the defaults reach over 97 % in about a minute on two cores."""

    out: Path
    model: str = "wrn-16-2"
    epochs: int = 12


def run_demo(options: DemoOptions, progress: Progress) -> Report:
    """Trains on digits, exports, calibrates, builds plans if a TensorRT is installed, and benchmarks.

    Raises:
        GateError: parity or the accuracy of int8 failed.
    """
    run, reports = options.out / "training", check_folder(options.out / "reports")
    recipe = TrainRecipe(epochs=options.epochs, batch_size=64)
    trained = train_model(
        TrainOptions(model=options.model, data=DATA, out=run, recipe=recipe, resume=(run / STATE).exists()), progress
    )
    folder = options.out / "bundle"
    bundle = export_bundle(ExportOptions(model=options.model, out=folder, weights=trained.weights), progress)
    calibrate_bundle(bundle, CalibrateOptions(data=DATA), progress)
    build_plans(bundle, PLANS, progress)
    report = bench_bundle(bundle, MeasureOptions(data=DATA), progress)
    write_reports(report, reports, "bench", progress)
    check_drop(report, MAX_DROP)
    return report
