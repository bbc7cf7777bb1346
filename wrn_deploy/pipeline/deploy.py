"""The whole way in one call: weights to a bundle with int8 graphs and plans, its accuracy measured and judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from wrn_deploy.bench.report.report import Report
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.errors import GateError, MachineError, UsageError, how_to_install
from wrn_deploy.formatting import file_size
from wrn_deploy.manifest import Artifact
from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
from wrn_deploy.pipeline.measuring.compare import check_drop
from wrn_deploy.pipeline.measuring.measure import MeasureOptions, evaluate_bundle
from wrn_deploy.pipeline.networks.checks import check_export
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.output_files import check_folder, reports_of, write_reports
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.progress import Progress
from wrn_deploy.spec import Precision

__all__ = [
    "MAX_DROP", "PLANS", "REPORT", "DeployOptions", "Deployment", "build_plans", "check_before", "check_deployment",
    "deploy_weights",
]  # fmt: skip

MAX_DROP = 0.5  # points of top-1 that a lower precision may lose
PLANS = (Precision.FP16, Precision.INT8)
REPORT = "accuracy"  # the name of the reports' files

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployOptions:
    """The options of the steps; the bundle is `export.out`.

    Attributes:
        export: the network and its weights.
        calibrate: the images to calibrate on.
        plans: the precisions of the plans.
        measure: what accuracy is measured on; None: it is not measured.
        max_drop: points of top-1 that a candidate of `measure` may lose against fp32.
    """

    export: ExportOptions
    calibrate: CalibrateOptions
    plans: tuple[Precision, ...] = PLANS
    measure: MeasureOptions | None = None
    max_drop: float = MAX_DROP

    def __post_init__(self) -> None:
        if not set(self.plans) <= set(PLANS):
            raise UsageError(f"plans in {', '.join(self.plans)}: expected {' or '.join(PLANS)}, or both")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What was made.

    Attributes:
        bundle: the bundle.
        plans: the plans that this machine built, or that were up to date.
        not_built: why there are no more, a reason each.
        report: accuracy of every candidate that this machine can run; None: no data was given.
        data: the images that it was measured on, as given.
        max_drop: as in the options.
        seconds: the time of each step, by its name; a step that was up to date takes next to none.
    """

    bundle: Bundle
    plans: tuple[Artifact, ...]
    not_built: tuple[str, ...]
    report: Report | None
    data: str | None
    max_drop: float
    seconds: Mapping[str, float]


def deploy_weights(options: DeployOptions, progress: Progress) -> Deployment:
    """Exports, calibrates, builds the plans that this machine can build, and measures accuracy; no gate on that yet.

    Steps that are up to date are skipped. Accuracy is measured each time, and its report is written into the bundle's
    `reports` folder.

    Example:
        >>> from pathlib import Path
        >>> from wrn_deploy.pipeline.deploy import DeployOptions, check_deployment, deploy_weights
        >>> from wrn_deploy.pipeline.networks.export import ExportOptions
        >>> from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions
        >>> from wrn_deploy.progress import Silent
        >>> export = ExportOptions(out=Path("new"), weights=Path("bundle/weights.safetensors"))
        >>> made = deploy_weights(DeployOptions(export=export, calibrate=CalibrateOptions(data="digits")), Silent())
        >>> check_deployment(made)  # raises GateError if a candidate lost too much accuracy

    Raises:
        UsageError: options that contradict each other.
        DeployError: unusable weights or data, or a folder that holds something else.
        GateError: a graph does not compute what PyTorch computes, or a plan is not in the precision of its graph.
        MachineError: a package is missing.
    """
    watch = _Watch()
    check_before(options)
    bundle = watch.timed("export", lambda: export_bundle(options.export, progress))
    watch.timed("calibrate", lambda: calibrate_bundle(bundle, options.calibrate, progress))
    plans, not_built = watch.timed("build", lambda: build_plans(bundle, options.plans, progress))
    report, measure = None, options.measure
    if measure is not None:
        report = watch.timed("evaluate", lambda: evaluate_bundle(bundle, measure, progress))
        write_reports(report, reports_of(bundle.folder), REPORT, progress)
    return Deployment(
        bundle=bundle,
        plans=plans,
        not_built=not_built,
        report=report,
        data=None if measure is None else measure.data,
        max_drop=options.max_drop,
        seconds=watch.seconds,
    )


def check_before(options: DeployOptions) -> None:
    """Checks what can be refused before the first minute of work: paths, names, and the place for the bundle."""
    open_data(options.calibrate.data, Role.TRAIN)
    if options.measure is not None:
        open_data(options.measure.data, Role.TEST)
    check_folder(reports_of(options.export.out))
    check_export(options.export.model, options.export.weights, options.export.out)


def check_deployment(deployment: Deployment) -> None:
    """The gate: no candidate may lose more top-1 than allowed. Without a report there is nothing to judge.

    Raises:
        GateError: one does, or fp32 is no better than guessing; the text has the figures.
    """
    if deployment.report is None:
        return
    fp32 = deployment.report.reference_accuracy
    try:
        check_drop(deployment.report, deployment.max_drop)
    except GateError as error:
        if fp32 is None or not fp32.beats_guessing:
            raise
        folder = deployment.bundle.folder
        raise GateError(
            f"{error}; `wrn-deploy tune {folder} --data DATA --max-drop {deployment.max_drop:g}` keeps in fp16 the "
            "Convs that lose most"
        ) from error


def build_plans(
    bundle: Bundle, precisions: Sequence[Precision], progress: Progress
) -> tuple[tuple[Artifact, ...], tuple[str, ...]]:
    """Builds a plan of each precision with each TensorRT that is installed.

    Returns:
        The plans, and why those that are missing were not built, which is a warning too.
    """
    from wrn_deploy.engines.flavor import installed_flavors
    from wrn_deploy.engines.options import EngineOptions

    plans, missing = list[Artifact](), list[str]()
    if not installed_flavors():
        hint = how_to_install("rtx", "tensorrt-rtx")
        missing.append(f"no TensorRT is installed; TensorRT-RTX builds them without a GPU: {hint}")
        progress.warn(f"no plan was built: {missing[0]}")
    for flavor in installed_flavors():
        for precision in precisions:
            options = BuildOptions(precision=precision, engine=EngineOptions(), flavor=flavor)
            try:
                plan = build_engine(bundle, options, progress)
            except MachineError as error:  # full TensorRT without a GPU, say: the other steps can still run
                missing.append(f"{flavor} {precision}: {error}")
                progress.warn(f"{flavor} {precision} plan was not built: {error}")
                continue
            plans.append(plan)
            progress.note(f"{plan.path}: {file_size(plan.size_bytes)} in {plan.facts['seconds']} s")
    return tuple(plans), tuple(missing)


class _Watch:
    """The seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, step: Callable[[], Result]) -> Result:
        """Runs a step and keeps its time."""
        start = time.perf_counter()
        result = step()
        self.seconds[name] = time.perf_counter() - start
        return result
