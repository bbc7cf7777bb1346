"""Runs every step once, in order, on the embedded digits: from training to the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.bench.report.report import Report
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import MachineError, how_to_install
from wrn_deploy.formatting import file_size
from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
from wrn_deploy.pipeline.measuring.compare import check_drop
from wrn_deploy.pipeline.measuring.measure import MeasureOptions, bench_bundle
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.output_files import check_folder, write_reports
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.training.train import STATE, TrainOptions, train_model
from wrn_deploy.progress import Progress
from wrn_deploy.spec import Precision
from wrn_deploy.training.recipe import TrainRecipe

__all__ = ["DemoOptions", "run_demo"]

DATA = "digits"
MAX_DROP = 0.5  # points of top-1 that int8 may lose


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
    _build_plans(bundle, progress)
    report = bench_bundle(bundle, MeasureOptions(data=DATA), progress)
    write_reports(report, reports, "bench", progress)
    check_drop(report, MAX_DROP)
    return report


def _build_plans(bundle: Bundle, progress: Progress) -> None:
    from wrn_deploy.engines.flavor import installed_flavors
    from wrn_deploy.engines.options import EngineOptions

    if not installed_flavors():
        progress.warn(
            "no plan was built: no TensorRT is installed; TensorRT-RTX builds them without a GPU: "
            f"{how_to_install('rtx', 'tensorrt-rtx')}"
        )
    for flavor in installed_flavors():
        for precision in (Precision.FP16, Precision.INT8):
            options = BuildOptions(precision=precision, engine=EngineOptions(), flavor=flavor)
            try:
                plan = build_engine(bundle, options, progress)
            except MachineError as error:  # full TensorRT without a GPU, say: the other steps can still run
                progress.warn(f"{flavor} {precision} plan was not built: {error}")
                continue
            progress.note(f"{plan.path}: {file_size(plan.size_bytes)} in {plan.facts['seconds']} s")
