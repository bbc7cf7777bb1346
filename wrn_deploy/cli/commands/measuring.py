"""The commands that measure, and compare what was measured: bench, eval, compare."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wrn_deploy.bench.measuring.loadgen import Scenario
from wrn_deploy.bench.report.report import Boundary
from wrn_deploy.cli.options import shared as opt
from wrn_deploy.cli.options.backends import Backends
from wrn_deploy.cli.options.declare import choice, flag, option, takes_groups
from wrn_deploy.cli.progress import new_progress

if TYPE_CHECKING:
    from wrn_deploy.pipeline.measuring.measure import MeasureOptions

__all__ = ["app"]

LOAD = "Load scenarios"

app = typer.Typer()


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateFlags:
    """The options of bench and eval that say what is measured, and on which images."""

    backend: Backends = None
    everything: Annotated[bool, flag("--all", "Measure variants, other runtimes and experimental precisions too.")] = (
        False
    )
    precision: opt.PrecisionOf = None
    threads: opt.Threads = None
    limit: opt.Limit = None
    max_corrupt: opt.MaxCorrupt = "0"
    workers: opt.Workers = None

    def options(self, data: str) -> MeasureOptions:
        """The options as the pipeline takes them, all others at their defaults."""
        from wrn_deploy.data.corrupt import parse_max_corrupt
        from wrn_deploy.pipeline.measuring.measure import MeasureOptions

        return MeasureOptions(
            data=data,
            backends=opt.distinct(self.backend),
            precision=self.precision,
            threads=self.threads,
            limit=self.limit,
            max_corrupt=parse_max_corrupt(self.max_corrupt),
            everything=self.everything,
            workers=self.workers,
        )


@app.command()
@takes_groups
def bench(
    bundle: opt.BundlePath,
    data: opt.Data,
    candidates: CandidateFlags,
    out: Annotated[Path | None, option("FOLDER", "For the reports. Default: BUNDLE/reports.")] = None,
    batches: Annotated[str, option("N,N", "Batch sizes.", opt.TIMING)] = "1,8",
    rounds: Annotated[
        int, option("N", "TimingOptions of each candidate at each batch size.", opt.TIMING, least=1)
    ] = 30,
    duration: Annotated[
        float, option("SECONDS", "Time for all timing of a candidate at a batch size.", opt.TIMING)
    ] = 3.0,
    iterations: Annotated[int, option("N", "Maximum runs in a turn.", opt.TIMING, least=1)] = 200,
    streams: Annotated[int, option("N", "Concurrent inferences.", opt.TIMING, least=1)] = 1,
    boundary: Annotated[Boundary, choice(Boundary, "What a time includes:", opt.TIMING)] = Boundary.COMPUTE,
    baseline: Annotated[
        str | None, option("BACKEND-PRECISION", "Candidate that ratios are relative to. Default: fp32.", opt.TIMING)
    ] = None,
    scenario: Annotated[
        list[Scenario] | None,
        choice(Scenario, "A scenario of MLPerf; repeatable:", LOAD),
    ] = None,
    scenario_seconds: Annotated[
        float, option("SECONDS", "Minimum duration of a scenario; MLPerf asks for 600.", LOAD)
    ] = 10.0,
    target_latency: Annotated[float, option("MS", "Latency that 99 of 100 Server queries must meet.", LOAD)] = 100.0,
    target_qps: Annotated[
        float | None, option("N", "Server queries per second. Default: half of what is measured.", LOAD)
    ] = None,
    pictures: Annotated[
        bool, flag("--pictures/--no-pictures", "Keep thumbnails of images whose class differs.")
    ] = True,
    as_json: opt.AsJson = False,
) -> None:
    """Measure latency, accuracy and memory of every candidate side by side.

    A candidate is a backend at a precision. fp32 is always measured, as the reference. Variants and other runtimes,
    such as torch_compile and openvino, are measured if named, or with --all.
    """
    from wrn_deploy.bench.measuring.loadgen import Load
    from wrn_deploy.bundle import Bundle
    from wrn_deploy.cli.show.results import show_report
    from wrn_deploy.pipeline.measuring.measure import bench_bundle
    from wrn_deploy.pipeline.output_files import check_folder, write_reports

    opened, progress, sizes = Bundle.open(bundle), new_progress(), opt.parse_batches(batches)
    folder = check_folder(out or bundle / "reports")
    loads = [
        Load(scenario=one, seconds=scenario_seconds, batch=max(sizes), target_ms=target_latency, qps=target_qps)
        for one in scenario or ()
    ]
    options = dataclasses.replace(
        candidates.options(data),
        batches=sizes,
        rounds=rounds,
        iterations=iterations,
        duration_s=duration,
        streams=streams,
        boundary=boundary,
        baseline=opt.parse_candidate("--baseline", baseline),
        loads=tuple(loads),
        logs=folder / "loadgen",
        pictures=pictures,
    )
    report = bench_bundle(opened, options, progress)
    write_reports(report, folder, "bench", progress)
    show_report(report, as_json=as_json)


@app.command("eval")
@takes_groups
def evaluate(
    path: opt.BundleOrWeights,
    data: opt.Data,
    candidates: CandidateFlags,
    network: opt.NetworkFlags,
    max_drop: Annotated[
        float | None, option("X", "Exit code 3 if a candidate loses more points of top-1 against fp32.", least=0)
    ] = None,
    model: opt.ModelOfWeights = None,
    weights_key: opt.WeightsKey = "",
    as_json: opt.AsJson = False,
) -> None:
    """Measure top-1 and top-5 of a bundle, with a gate, or of weights alone.

    For a bundle, fp32 is always measured, as the reference. Weights need no bundle: PyTorch runs them, on images
    prepared as they expect.
    """
    from wrn_deploy.cli.show.results import show_report
    from wrn_deploy.pipeline.inference.models import BundleOrWeights
    from wrn_deploy.pipeline.measuring.compare import check_drop
    from wrn_deploy.pipeline.measuring.evaluate import evaluate_target

    target = BundleOrWeights(path=path, model=model, overrides=network.overrides(), key=weights_key)
    report = evaluate_target(target, candidates.options(data), new_progress(), gated=max_drop is not None)
    show_report(report, as_json=as_json)
    if max_drop is not None:
        check_drop(report, max_drop)


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(metavar="A.json", help="The earlier report.")],
    after: Annotated[Path, typer.Argument(metavar="B.json", help="The later report, compared with A.")],
    max_regress: Annotated[
        str | None, option("X%", "Exit code 3 if a candidate is shown to be slower by more than X%.")
    ] = None,
    max_drop: Annotated[
        float | None, option("X", "Exit code 3 if one loses more points of top-1 on the same images.", least=0)
    ] = None,
    strict: Annotated[
        bool, flag("--strict", "Fail on a slower time even if the interval does not show it, and on a missing row.")
    ] = False,
    reference: Annotated[
        str | None, option("BACKEND-PRECISION", "First divide the times of each round by this candidate's.")
    ] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Compare two reports of bench, with a gate: what is slower, faster, or less accurate."""
    from wrn_deploy.cli.show.compare import show_comparison
    from wrn_deploy.pipeline.measuring.compare import RegressionLimits, check_comparison, compare_files

    limits = RegressionLimits(regress=opt.parse_percent("--max-regress", max_regress), drop=max_drop, strict=strict)
    found, notes = compare_files(before, after, opt.parse_candidate("--reference", reference))
    show_comparison(found, notes, as_json=as_json)
    check_comparison(found, limits)
