"""The commands that measure, and compare what was measured: bench, eval, compare."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from wrn_deploy.bench.measuring.loadgen import Load, Scenario
from wrn_deploy.bench.report.report import Boundary
from wrn_deploy.bundle import Bundle
from wrn_deploy.cli.options import shared as opt
from wrn_deploy.cli.options.backends import Backends
from wrn_deploy.cli.options.cluster import ClusterFlags, SpreadFlags
from wrn_deploy.cli.options.declare import choice, either, flag, option, takes_groups, values
from wrn_deploy.cli.options.shared import TIMING
from wrn_deploy.cli.progress import new_progress
from wrn_deploy.errors import UsageError

if TYPE_CHECKING:
    from wrn_deploy.bench.report.report import Report
    from wrn_deploy.cluster.work import Finished
    from wrn_deploy.pipeline.measuring.measure import MeasureOptions
    from wrn_deploy.progress import Progress

__all__ = ["app"]

app = typer.Typer()


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateFlags:
    """The options of bench and eval that say what is measured, and on how many images."""

    backends: Backends = None
    everything: Annotated[bool, flag("--all", "Also measure variants, other runtimes and experimental precisions.")] = (
        False
    )
    precision: opt.PrecisionOf = None
    threads: opt.Threads = None
    limit: opt.Limit = None

    def options(self, data: str, **more: Any) -> MeasureOptions:
        """The options that the pipeline takes; those not in `more` have their defaults."""
        from wrn_deploy.pipeline.measuring.measure import MeasureOptions

        backends = tuple(dict.fromkeys(self.backends)) if self.backends else None
        return MeasureOptions(data=data, **{**values(self), "backends": backends}, **more)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingFlags:
    """How candidates are timed."""

    PANEL: ClassVar[str] = TIMING

    batches: Annotated[str, option("N,N", "Batch sizes.")] = "1,8"
    rounds: Annotated[int, option("N", "How often to measure each candidate per batch size.", minimum=1)] = 30
    duration_s: Annotated[float, option("SECONDS", "Total time per candidate and batch size.", name="--duration")] = 3.0
    iterations: Annotated[int, option("N", "Maximum runs per round.", minimum=1)] = 200
    streams: Annotated[int, option("N", "Concurrent inferences.", minimum=1)] = 1
    boundary: Annotated[Boundary, choice(Boundary, "What the timer covers:")] = Boundary.COMPUTE
    baseline: Annotated[
        str | None, option("BACKEND-PRECISION", "Candidate to compare the others with. Default: fp32.")
    ] = None
    time_limit_s: Annotated[
        float | None,
        option("SECONDS", "Stop timing after this long, with fewer rounds.", minimum=1, name="--time-limit"),
    ] = None

    def options(self) -> dict[str, Any]:
        """The options by the pipeline's names; raises UsageError if the batch sizes or the candidate make no sense."""
        parsed = {"batches": opt.parse_batches(self.batches)}
        return {**values(self), **parsed, "baseline": opt.parse_candidate("--baseline", self.baseline)}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFlags:
    """MLPerf's scenarios."""

    PANEL: ClassVar[str] = "Load scenarios"

    scenario: Annotated[list[Scenario] | None, choice(Scenario, "MLPerf scenario; repeatable:")] = None
    seconds: Annotated[
        float, option("SECONDS", "Minimum duration per scenario; MLPerf requires 600.", name="--scenario-seconds")
    ] = 10.0
    target_ms: Annotated[
        float, option("MS", "Latency that 99 % of the Server queries must meet.", name="--target-latency")
    ] = 100.0
    qps: Annotated[
        float | None,
        option("N", "Server queries per second. Default: half of the measured throughput.", name="--target-qps"),
    ] = None

    def options(self, batches: tuple[int, ...]) -> tuple[Load, ...]:
        """The scenarios, each with the largest batch."""
        return tuple(
            Load(scenario=scenario, batch=max(batches), seconds=self.seconds, target_ms=self.target_ms, qps=self.qps)
            for scenario in self.scenario or ()
        )


@app.command()
@takes_groups
def bench(
    bundles: opt.BundlePaths,
    data: opt.Data,
    candidates: CandidateFlags,
    decoding: opt.DecodingFlags,
    timing: TimingFlags,
    load: LoadFlags,
    cluster: ClusterFlags,
    out: Annotated[
        Path | None,
        option("FOLDER", "Folder for the reports; of several bundles, one in it for each. Default: BUNDLE/reports."),
    ] = None,
    pictures: Annotated[bool, either("pictures", "Keep thumbnails of images whose predicted class changes.")] = True,
    server: Annotated[
        str | None,
        option("URL", "Also measure this Triton server, such as http://127.0.0.1:8000: the client's round trip."),
    ] = None,
    strict: Annotated[
        bool, flag("--strict", "Exit code 3, after writing the reports, if a ratio is too noisy to conclude.")
    ] = False,
    restart: Annotated[
        bool, flag("--restart", "Discard the rounds of an interrupted bench. Default: continue after them.")
    ] = False,
    dry_run: opt.DryRun = False,
    as_json: opt.AsJson = False,
) -> None:
    """Measure latency, accuracy and memory of every candidate side by side.

    A candidate is a backend at a precision. fp32 is always measured, as the reference. Variants and other runtimes,
    such as torch_compile and openvino, are measured if named, or with --all. After an interruption, the same command
    continues after the last finished round.

    Several bundles are measured one after the other, or each on a node of a Ray cluster (--ray).
    """
    from wrn_deploy.cli.show.results import show_report
    from wrn_deploy.pipeline.measuring.compare import check_conclusive
    from wrn_deploy.pipeline.measuring.measure import bench_bundle
    from wrn_deploy.pipeline.measuring.sittings import KEPT
    from wrn_deploy.pipeline.output_files import check_folder, reports_of, write_reports

    progress, timed = new_progress(), timing.options()
    loads = load.options(timed["batches"])
    more = {"loads": loads, "pictures": pictures, "restart": restart, "server": server}
    options = candidates.options(data, **timed, **decoding.options(), **more)
    if len(bundles) > 1 or cluster.ray is not None:
        if dry_run:
            raise UsageError("--dry-run with several bundles or --ray: expected one bundle on this machine")
        reports = _bench_all(tuple(bundles), options, out, cluster, progress)
        for each in reports:
            show_report(each, as_json=as_json)
        for each in reports if strict else ():
            check_conclusive(each)
        return
    opened, folder = Bundle.open(bundles[0]), check_folder(out or reports_of(bundles[0]))
    options = dataclasses.replace(options, logs=folder / "loadgen", kept=folder / KEPT)
    if dry_run:
        from wrn_deploy.cli.show.forecast import show_forecast
        from wrn_deploy.pipeline.forecast.improving import forecast_bench

        show_forecast(forecast_bench(opened, options, folder), as_json=as_json)
        return
    report = bench_bundle(opened, options, progress)
    write_reports(report, folder, "bench", progress)
    show_report(report, as_json=as_json)
    if strict:
        check_conclusive(report)


def _bench_all(
    bundles: tuple[Path, ...], options: MeasureOptions, out: Path | None, cluster: ClusterFlags, progress: Progress
) -> list[Report]:
    """The reports, in the bundles' order; each is written when it is there."""
    from wrn_deploy.pipeline.measuring.sweep import bench_job, find_folders, report_of
    from wrn_deploy.pipeline.output_files import write_reports

    folders = find_folders(bundles, out)
    job = bench_job(bundles, folders, options)
    reports: dict[int, Report] = {}

    def take(finished: Finished) -> None:
        reports[finished.shard] = report_of(finished)
        write_reports(reports[finished.shard], folders[finished.shard], "bench", progress)

    cluster.run(job, take, progress, whole_nodes=True)
    return [reports[number] for number in job.shards]


@app.command("eval")
@takes_groups
def evaluate(
    target: opt.TargetFlags,
    data: opt.Data,
    candidates: CandidateFlags,
    decoding: opt.DecodingFlags,
    shards: opt.ShardFlags,
    cluster: SpreadFlags,
    max_drop: Annotated[
        float | None,
        option("X", "Exit code 3 if a candidate loses more than X points of top-1 against fp32.", minimum=0),
    ] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Measure top-1 and top-5 accuracy of a bundle or of weights; --max-drop sets a gate.

    For a bundle, fp32 is always measured, as the reference. Weights do not need a bundle: PyTorch runs them, on images
    prepared as they expect. Several machines can share the images of a bundle's evaluation: each answers one shard with
    --shard, and --merge makes the same report as one pass; --ray does both.
    """
    from wrn_deploy.cli.show.results import show_report, show_shard
    from wrn_deploy.pipeline.measuring.compare import check_drop
    from wrn_deploy.pipeline.measuring.evaluate import evaluate_target, open_bundle

    options, block = candidates.options(data, **decoding.options()), shards.block
    if block is not None:
        from wrn_deploy.pipeline.measuring.shards import evaluate_shard

        bundle = open_bundle(target.target(), "--shard")
        show_shard(evaluate_shard(bundle, options, *block, new_progress()), as_json=as_json)
        return
    if shards.merge:
        from wrn_deploy.pipeline.measuring.shards import merge_evaluation

        report = merge_evaluation(open_bundle(target.target(), "--merge"), options, shards.merge, new_progress())
    elif cluster.ray is not None:
        from wrn_deploy.pipeline.spread import spread_evaluation

        bundle = open_bundle(target.target(), "--ray")
        report = spread_evaluation(bundle, options, cluster.run, new_progress(), cluster.ray_shards)
    else:
        report = evaluate_target(target.target(), options, new_progress(), gated=max_drop is not None)
    show_report(report, as_json=as_json)
    if max_drop is not None:
        check_drop(report, max_drop)


@app.command()
def compare(
    reports: Annotated[
        list[Path],
        typer.Argument(metavar="A [...] B", help="Reports, earliest first: JSON files, bundles or folders."),
    ],
    max_regress: Annotated[
        str | None, option("X%", "Exit code 3 if a candidate is significantly more than X% slower.")
    ] = None,
    max_drop: Annotated[
        float | None,
        option("X", "Exit code 3 if a candidate loses more than X points of top-1 on the same images.", minimum=0),
    ] = None,
    strict: Annotated[
        bool,
        flag(
            "--strict",
            "Also fail if the result is open: a slower median, a ratio too noisy to conclude, a missing row.",
        ),
    ] = False,
    baseline: Annotated[
        str | None, option("BACKEND-PRECISION", "Divide the times of each round by this candidate's before comparing.")
    ] = None,
    out: Annotated[Path | None, option("FILE", "Write an HTML page with the history of all reports.")] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Compare bench reports: show what is slower, faster or less accurate; limits set a gate.

    Compares the last report, B, with the first, A; the history shows all of them.
    """
    from wrn_deploy.cli.show.compare import show_comparison, show_history
    from wrn_deploy.pipeline.measuring.compare import RegressionLimits, check_comparison, compare_files, read_history
    from wrn_deploy.pipeline.output_files import check_picture, write_page
    from wrn_deploy.rendering.comparison import comparison_to_html

    if len(reports) < 2:
        raise UsageError(f"one report, {reports[0]}: expected two or more, the earliest first")
    limits = RegressionLimits(regress=opt.parse_percent("--max-regress", max_regress), drop=max_drop, strict=strict)
    if out is not None:
        check_picture(out)
    found, notes = compare_files(reports[0], reports[-1], opt.parse_candidate("--baseline", baseline))
    history = read_history(reports) if out is not None or len(reports) > 2 else ()
    if history and not as_json:
        show_history(history)
    show_comparison(found, notes, as_json=as_json)
    if out is not None:
        write_page(comparison_to_html(found, notes, history), out, new_progress())
    check_comparison(found, limits)
