"""The steps of `bench` (every candidate's latency, accuracy and memory) and `eval` (accuracy alone)."""

from __future__ import annotations

import contextlib
import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.bench.measuring.loadgen import Load, check_loadgen
from wrn_deploy.bench.measuring.watch import git_revision, watch_machine
from wrn_deploy.bench.measuring.worker import WorkerConfig
from wrn_deploy.bench.report.environment import Conditions
from wrn_deploy.bench.report.report import Boundary, Report, Settings
from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.guard import report_warnings
from wrn_deploy.data import ImageSource, Role, open_data
from wrn_deploy.data.classes import match_classes
from wrn_deploy.data.corrupt import MaxCorrupt
from wrn_deploy.errors import DeployError, MachineError, UsageError
from wrn_deploy.machine import Machine, describe_machine, package_versions
from wrn_deploy.pipeline.inference.models import images_together
from wrn_deploy.pipeline.measuring.rounds import RowBuilder, ask_all, by_reference, run_loads, start, time_rounds
from wrn_deploy.pipeline.measuring.scoring import score_all
from wrn_deploy.pipeline.quantization.overlap import check_overlap
from wrn_deploy.progress import Progress
from wrn_deploy.runtime.backend import default_pairs, examine, known_pairs, runtimes
from wrn_deploy.spec import EXPERIMENTAL, Precision
from wrn_deploy.version import __version__

__all__ = ["MeasureOptions", "bench_bundle", "check_labelled", "evaluate_bundle", "settings_of"]

PACKAGES = (
    "numpy", "torch", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx-cu13",
    "tensorrt-rtx-cu12", "pycuda",
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
        iterations: maximum of runs in a turn.
        threads: CPU threads; None: all cores.
        limit: use the first `limit` images; None: all.
        max_corrupt: how many corrupt images, or which fraction, may be left out.
        duration_s: seconds that a candidate's turns at one batch size take together; a turn has at least one run.
        streams: concurrent inferences.
        boundary: the section that is timed.
        baseline: the candidate whose times the others' are divided by; None: the fp32 reference.
        loads: LoadGen scenarios.
        logs: folder for LoadGen's logs; required with `loads`.
        everything: measure comparison-only runtimes and experimental precisions too.
        pictures: put the pixels of some images whose class changed into the report.
        workers: processes that decode while accuracy is measured; None: `choose_workers` decides.
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

    def __post_init__(self) -> None:
        if not self.batches or min(self.batches) < 1 or len(set(self.batches)) != len(self.batches):
            raise UsageError(f"batches {self.batches}: expected different sizes from 1")
        if self.rounds < 1 or self.iterations < 1:
            raise UsageError(f"{self.rounds} rounds of {self.iterations} iterations: expected at least 1 of each")
        if not 0 < self.duration_s < math.inf or self.streams < 1:
            raise UsageError(
                f"{self.duration_s} s on {self.streams} streams: expected more than 0 s and 1 stream at least"
            )


def bench_bundle(bundle: Bundle, options: MeasureOptions, progress: Progress) -> Report:
    """Measures latency, accuracy and memory of every candidate that this machine can run, in interleaved rounds.

    Raises:
        UsageError: unknown backend, precision or baseline.
        DeployError: unusable data, or nothing could be measured.
        MachineError: this machine can run nothing of what was asked for.

    Example:
        >>> bundle = Bundle.open("demo/bundle")
        >>> report = bench_bundle(bundle, MeasureOptions(data="digits", rounds=10), Silent())
        >>> [row.name for row in report.rows if row.latencies]
    """
    return _measure(bundle, options, progress, with_latency=True)


def evaluate_bundle(bundle: Bundle, options: MeasureOptions, progress: Progress) -> Report:
    """Measures accuracy alone."""
    return _measure(bundle, options, progress, with_latency=False)


def _measure(bundle: Bundle, options: MeasureOptions, progress: Progress, *, with_latency: bool) -> Report:
    source = match_classes(open_data(options.data, Role.TEST), bundle.spec)
    check_labelled(source, bundle.spec.classes)
    machine = describe_machine()
    settings = settings_of(options, machine)
    if options.loads:
        check_loadgen()
    asked = _asked(bundle, options)
    also = _compared_with(bundle, options)
    entries = [_entry(bundle, *pair) for pair in known_pairs() if pair in {*asked, *also}]
    named = [entry for entry in entries if (entry.backend, entry.precision) in asked]
    if all(entry.skipped for entry in named):  # no silent replacement
        kind = MachineError if any(isinstance(entry.found.obstacle, MachineError) for entry in named) else DeployError
        raise kind(f"nothing that was asked for can run here: {_reasons(named)}")
    images = min(len(source), options.limit or len(source))
    watch = watch_machine()
    with contextlib.ExitStack() as stack:
        for entry in entries:
            if entry.skipped is None:
                config = WorkerConfig(
                    folder=str(bundle.folder),
                    backend=entry.backend,
                    precision=entry.precision,
                    threads=settings.threads,
                    data=options.data,
                    limit=options.limit,
                    max_corrupt=options.max_corrupt,
                    accuracy_batch=images_together(bundle.spec),
                    streams=options.streams,
                    boundary=options.boundary,
                    workers=options.workers,
                )
                start(entry, stack, config)
        if with_latency:
            time_rounds(entries, settings, progress, watch.look)
            run_loads(entries, options.loads, options.logs or Path(), progress)
            conditions = watch.end(machine.cores, git_revision())
            ask_all(entries, images, progress)
        else:
            ask_all(entries, images, progress)
            conditions = watch.end(machine.cores, git_revision())
    if all(entry.skipped for entry in named):
        raise DeployError(f"nothing that was asked for could be measured: {_reasons(named)}")
    seen = next(entry.answers.images for entry in entries if entry.answers is not None)
    report_warnings(check_overlap(bundle, seen), progress)
    measured = _Measured(entries=entries, source=source, machine=machine, settings=settings, conditions=conditions)
    return _report(bundle, options, measured)


def settings_of(options: MeasureOptions, machine: Machine) -> Settings:
    """The settings that the report states."""
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
    """Refuses unlabelled data before anything is timed: there would be no accuracy to report.

    Raises:
        DeployError: the first image has no label.
    """
    first = next(source.items())
    if first.label is None:
        raise DeployError(f"{first.name} has no label: expected 0 to {classes - 1}, to measure accuracy")


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


def _entry(bundle: Bundle, backend: str, precision: Precision) -> RowBuilder:
    found = examine(bundle, backend, precision)
    return RowBuilder(backend, precision, found, found.skipped)


def _known() -> str:
    return ", ".join(f"{backend}-{precision}" for backend, precision in known_pairs())


def _reasons(skipped: Sequence[RowBuilder]) -> str:
    names: dict[str | None, list[str]] = {}
    for entry in skipped:
        names.setdefault(entry.skipped, []).append(entry.name)
    return "; ".join(f"{', '.join(alike)}: {reason}" for reason, alike in names.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """What a report is made of."""

    entries: list[RowBuilder]
    source: ImageSource
    machine: Machine
    settings: Settings
    conditions: Conditions


def _report(bundle: Bundle, options: MeasureOptions, measured: _Measured) -> Report:
    entries = measured.entries
    answered = [entry for entry in entries if entry.answers is not None and not entry.skipped]
    reference = _reference(answered)
    first = answered[0].answers
    assert first is not None
    scores = score_all(entries, reference, measured.source, bundle.spec, pictures=options.pictures)
    return Report(
        model=bundle.spec.name,
        random_weights=bundle.random_weights,
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        data=Path(options.data).name,
        data_digest=first.digest,
        corrupt=first.corrupt,
        reference=reference.name if reference else None,
        baseline=_baseline(entries, options, reference),
        machine=measured.machine,
        versions={"wrn-deploy": __version__, **package_versions(*PACKAGES)},
        settings=measured.settings,
        rows=tuple(
            entry.row(scores.get(entry.name)) for entry in sorted(entries, key=lambda entry: entry is not reference)
        ),
        conditions=measured.conditions,
    )


def _baseline(entries: list[RowBuilder], options: MeasureOptions, reference: RowBuilder | None) -> str | None:
    if options.baseline is None:
        return reference.name if reference else None
    return next(entry.name for entry in entries if (entry.backend, entry.precision) == options.baseline)


def _reference(answered: list[RowBuilder]) -> RowBuilder | None:
    """The fp32 row that agreement and drops refer to: PyTorch's, else another's."""
    return next((entry for entry in by_reference(answered) if entry.precision is Precision.FP32), None)
