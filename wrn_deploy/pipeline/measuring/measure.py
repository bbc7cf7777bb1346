"""The steps of `bench` (every candidate's latency, accuracy and memory) and `eval` (accuracy alone)."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.bench.measuring.loadgen import Load, check_loadgen
from wrn_deploy.bench.measuring.watch import git_revision, watch_machine
from wrn_deploy.bench.measuring.worker import WorkerConfig
from wrn_deploy.bench.report.report import SERVED, Boundary, Report, Settings
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import ImageSource, OpenedSource, Role, open_data
from wrn_deploy.data.classes import match_classes
from wrn_deploy.data.corrupt import MaxCorrupt
from wrn_deploy.data.sources import report_notes
from wrn_deploy.errors import DeployError, MachineError, UsageError
from wrn_deploy.machine import Machine, describe_machine, package_versions
from wrn_deploy.pipeline.inference.models import images_together
from wrn_deploy.pipeline.measuring.measured import gather, report_of
from wrn_deploy.pipeline.measuring.rounds import RowBuilder, ask_all, run_loads, start, time_rounds
from wrn_deploy.pipeline.measuring.sittings import RoundKeeper, describe_bench, keep_rounds
from wrn_deploy.progress import Progress
from wrn_deploy.runtime.backend import Candidate, actionable, default_pairs, examine, known_pairs, runtimes
from wrn_deploy.serving.served import ServedModelRuntime, find_served
from wrn_deploy.spec import EXPERIMENTAL, Precision
from wrn_deploy.version import __version__

__all__ = [
    "MeasureOptions", "bench_bundle", "check_labelled", "check_measured", "evaluate_bundle", "examine_candidates",
    "open_labelled", "settings_of", "start_all", "versions",
]  # fmt: skip

PACKAGES = (
    "numpy", "torch", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-lean-cu13",
    "tensorrt-rtx-cu13", "tensorrt-rtx-cu12", "pycuda",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureOptions:
    """What to measure on, and which candidates.

    Args:
        data: labelled images.
        backends: only these; None: all but those that are comparison-only.
        precision: only this one; None: all but the experimental ones, which are measured if the bundle has them.
        batches: batch sizes.
        rounds: turns of each candidate at each batch size.
        iterations: maximum number of runs in a turn.
        threads: CPU threads; None: all cores.
        limit: use the first `limit` images; None: all.
        max_corrupt: maximum number, or fraction, of corrupt images, which are left out.
        duration_s: seconds that a candidate's turns at one batch size take together; a turn has at least one run.
        streams: concurrent inferences.
        boundary: the section that is timed.
        baseline: the candidate whose times the others' are divided by; None: the fp32 reference.
        loads: LoadGen scenarios.
        logs: folder for LoadGen's logs; required with `loads`.
        everything: measure comparison-only runtimes and experimental precisions too.
        pictures: put the pixels of some images whose class changed into the report.
        workers: processes that decode while accuracy is measured; None: `choose_workers` decides.
        kept: file for the rounds of an interrupted benchmark, which the next one goes on with; None: none are kept.
        restart: discard the rounds in `kept`.
        time_limit_s: seconds for all rounds together, after which fewer are taken; None: no limit.
        server: the HTTP address of a Triton server, whose models of the bundle are measured too: the client's round
            trip.
    """

    data: str
    backends: tuple[str, ...] | None = None
    precision: Precision | None = None
    batches: tuple[int, ...] = (1, 8)
    rounds: int = 30
    iterations: int = 200
    threads: int | None = None
    limit: int | None = None
    max_corrupt: MaxCorrupt = 0
    duration_s: float = 3.0
    streams: int = 1
    boundary: Boundary = Boundary.COMPUTE
    baseline: tuple[str, Precision] | None = None
    loads: tuple[Load, ...] = ()
    logs: Path | None = None
    everything: bool = False
    pictures: bool = True
    workers: int | None = None
    time_limit_s: float | None = None
    server: str | None = None
    kept: Path | None = None
    restart: bool = False

    def __post_init__(self) -> None:
        if not self.batches or min(self.batches) < 1 or len(set(self.batches)) != len(self.batches):
            raise UsageError(f"batches {self.batches}: expected distinct sizes of at least 1")
        if self.rounds < 1 or self.iterations < 1:
            raise UsageError(f"{self.rounds} rounds of {self.iterations} iterations: expected at least 1 of each")
        if not 0 < self.duration_s < math.inf or self.streams < 1:
            raise UsageError(
                f"{self.duration_s} s on {self.streams} streams: expected more than 0 s and at least 1 stream"
            )


def bench_bundle(bundle: Bundle, options: MeasureOptions, progress: Progress) -> Report:
    """Measures latency, accuracy and memory of every candidate that this machine can run, in interleaved rounds.

    Raises:
        UsageError: unknown backend, precision or baseline.
        DeployError: unusable data, or nothing could be measured.
        MachineError: this machine can run nothing of what was asked for.

    Example:
        >>> from wrn_deploy.bundle import Bundle
        >>> from wrn_deploy.progress import Silent
        >>> from wrn_deploy.pipeline.measuring.measure import MeasureOptions, bench_bundle
        >>> options = MeasureOptions(data="digits", backends=("onnxruntime",), batches=(1,), rounds=1, limit=64)
        >>> report = bench_bundle(Bundle.open("bundle"), options, Silent())
        >>> report.reference
        'PyTorch CPU fp32'
    """
    return _measure(bundle, options, progress, with_latency=True)


def evaluate_bundle(bundle: Bundle, options: MeasureOptions, progress: Progress) -> Report:
    """Measures as `bench_bundle`, but accuracy alone."""
    return _measure(bundle, options, progress, with_latency=False)


def _measure(bundle: Bundle, options: MeasureOptions, progress: Progress, *, with_latency: bool) -> Report:
    source = open_labelled(bundle, options.data, progress)
    machine = describe_machine()
    settings = settings_of(options, machine)
    if options.loads:
        check_loadgen()
    entries, named = examine_candidates(bundle, options)
    images = min(len(source), options.limit or len(source))
    watch = watch_machine()
    kept = options.kept if with_latency else None
    keeper = RoundKeeper(kept, _setup(options, entries, settings, machine), entries, watch)
    with contextlib.ExitStack() as stack:
        stack.enter_context(keep_rounds(keeper, settings, progress, restart=options.restart))
        start_all(bundle, options, entries, settings, stack)
        if with_latency:
            limit_s = options.time_limit_s
            most = time_rounds(entries, settings, progress, watch, limit_s=limit_s, keep=keeper.note)
            keeper.write()
            settings = dataclasses.replace(settings, rounds=most or settings.rounds)
            run_loads(entries, options.loads, options.logs or Path(), progress)
            environment = watch.end(machine.cores, git_revision())
            ask_all(entries, images, progress)
        else:
            ask_all(entries, images, progress)
            environment = watch.end(machine.cores, git_revision())
    check_measured(named)
    measured = gather(
        entries,
        baseline=options.baseline,
        machine=machine,
        versions=versions(),
        settings=settings,
        environment=environment,
        earlier=keeper.earlier,
    )
    return report_of(bundle, measured, source, options.data, progress, pictures=options.pictures)


def open_labelled(bundle: Bundle, data: str, progress: Progress) -> OpenedSource:
    """The test images with the network's classes, of which the first must have a label."""
    source = match_classes(open_data(data, Role.TEST), bundle.spec)
    report_notes(source, progress)
    check_labelled(source, bundle.spec.classes)
    return source


def versions() -> dict[str, str]:
    """Those that a report states."""
    return {"wrn-deploy": __version__, **package_versions(*PACKAGES)}


def start_all(
    bundle: Bundle,
    options: MeasureOptions,
    entries: Sequence[RowBuilder],
    settings: Settings,
    stack: contextlib.ExitStack,
) -> None:
    """Starts a process for each candidate that can run; they end with `stack`."""
    for entry in entries:
        if entry.skipped is None:
            start(entry, stack, _worker_config(bundle, options, entry, settings.threads))


def check_measured(named: Sequence[RowBuilder]) -> None:
    """Raises DeployError if none of the candidates that were asked for has run to its end."""
    if all(entry.skipped for entry in named):
        raise DeployError(f"none of the requested candidates could be measured: {_reasons(named)}")


def _setup(options: MeasureOptions, entries: list[RowBuilder], settings: Settings, machine: Machine) -> dict[str, str]:
    data = options.data if options.limit is None else f"the first {options.limit} images of {options.data}"
    return describe_bench(entries, settings, data, machine, package_versions("wrn-deploy", *PACKAGES))


def settings_of(options: MeasureOptions, machine: Machine) -> Settings:
    """Returns the settings that the report states."""
    return Settings(
        batches=options.batches,
        rounds=options.rounds,
        duration_s=options.duration_s,
        iterations=options.iterations,
        threads=options.threads or machine.cores,
        streams=options.streams,
        boundary=options.boundary,
    )


def check_labelled(source: ImageSource, classes: int) -> None:
    """Refuses unlabelled data before anything is timed.

    Raises:
        DeployError: the first image has no label.
    """
    first = next(source.items())
    if first.label is None:
        raise DeployError(f"{first.name} has no label: expected 0 to {classes - 1} to measure accuracy")


def examine_candidates(bundle: Bundle, options: MeasureOptions) -> tuple[list[RowBuilder], list[RowBuilder]]:
    """Returns all candidates to measure, and those of them that the options ask for.

    Raises:
        DeployError: none of the latter can run; fp32 and the baseline do not silently replace them.
    """
    asked = _asked(bundle, options)
    pairs = {*asked, *_compared_with(bundle, options)}
    entries, named = [], []
    for backend, precision in known_pairs():
        if (backend, precision) in pairs:
            found = examine(bundle, backend, precision)
            entries.append(RowBuilder(backend=backend, precision=precision, found=found, skipped=found.skipped))
            if (backend, precision) in asked:
                named.append(entries[-1])
    if options.server is not None:
        served = [_served(bundle, runtime) for runtime in find_served(bundle, options.server)]
        entries, named = [*entries, *served], [*named, *served]
    if all(entry.skipped for entry in named):
        obstacles = {entry.found.obstacle: None for entry in named if entry.found.obstacle is not None}
        kind, _ = actionable([(str(obstacle), obstacle) for obstacle in obstacles])
        named.sort(key=lambda entry: isinstance(entry.found.obstacle, MachineError))
        raise kind(f"none of the requested candidates can run here: {_reasons(named)}")
    return entries, named


def _served(bundle: Bundle, runtime: ServedModelRuntime) -> RowBuilder:
    artifact = runtime.find_artifact(bundle, runtime.precision)
    found = Candidate(runtime=runtime, artifact=artifact, obstacle=None)
    return RowBuilder(backend=SERVED, precision=runtime.precision, found=found, skipped=None)


def _asked(bundle: Bundle, options: MeasureOptions) -> list[tuple[str, Precision]]:
    """The candidates that the options ask for.

    Raises:
        UsageError: no given backend runs at the given precision.
    """
    if options.backends is None and options.precision is None and not options.everything:
        return default_pairs(bundle)
    names = options.backends
    if names is None:
        names = tuple(name for name, each in runtimes().items() if options.everything or not each.comparison_only)
    asked = [pair for pair in known_pairs() if pair[0] in names and _fits(bundle, *pair, options)]
    known = {backend for backend, _ in asked}
    missing = [name for name in options.backends or () if name not in known]
    if missing or not asked:
        raise UsageError(
            f"backend {', '.join(missing) or 'any'} at precision {options.precision}: expected one of {_known()}"
        )
    return asked


def _fits(bundle: Bundle, backend: str, precision: Precision, options: MeasureOptions) -> bool:
    if options.precision is not None:
        return precision is options.precision
    made = precision not in EXPERIMENTAL or examine(bundle, backend, precision).artifact is not None
    return made or options.everything


def _compared_with(bundle: Bundle, options: MeasureOptions) -> list[tuple[str, Precision]]:
    """The fp32 rows, which are always measured, and the baseline: the others are compared with these."""
    if options.baseline not in (None, *known_pairs()):
        raise UsageError(f"baseline {'-'.join(options.baseline or ())}: expected one of {_known()}")
    fp32 = [pair for pair in default_pairs(bundle) if pair[1] is Precision.FP32]
    return fp32 if options.baseline is None else [*fp32, options.baseline]


def _worker_config(bundle: Bundle, options: MeasureOptions, entry: RowBuilder, threads: int) -> WorkerConfig:
    return WorkerConfig(
        folder=str(bundle.folder),
        backend=entry.backend,
        precision=entry.precision,
        threads=threads,
        data=options.data,
        limit=options.limit,
        max_corrupt=options.max_corrupt,
        accuracy_batch=images_together(bundle.spec),
        streams=options.streams,
        boundary=options.boundary,
        workers=options.workers,
        server=options.server if entry.backend == SERVED else None,
    )


def _known() -> str:
    return ", ".join(f"{backend}-{precision}" for backend, precision in known_pairs())


def _reasons(skipped: Sequence[RowBuilder]) -> str:
    names: dict[str | None, list[str]] = {}
    for entry in skipped:
        names.setdefault(entry.skipped, []).append(entry.name)
    return "; ".join(f"{', '.join(alike)}: {reason}" for reason, alike in names.items())
