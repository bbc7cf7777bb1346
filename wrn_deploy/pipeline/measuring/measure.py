"""The measuring steps: `bench`, every contender's latency, accuracy and memory, and `eval`, accuracy alone."""

from __future__ import annotations

import contextlib
import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy import __version__
from wrn_deploy.backend import contenders, examine, is_peer
from wrn_deploy.bench.measuring.loadgen import Load, check_loadgen
from wrn_deploy.bench.measuring.revision import git_revision
from wrn_deploy.bench.measuring.watch import watch_machine
from wrn_deploy.bench.measuring.worker import Work
from wrn_deploy.bench.report.environment import Conditions
from wrn_deploy.bench.report.report import Boundary, Report, Settings
from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.warning import report_warnings
from wrn_deploy.data import ImageSource, Role, open_data
from wrn_deploy.data.classes import match_classes
from wrn_deploy.data.corrupt import Share
from wrn_deploy.errors import DeployError, MachineError, UsageError
from wrn_deploy.machine import Machine, describe_machine, package_versions
from wrn_deploy.pipeline.inference.models import images_together
from wrn_deploy.pipeline.measuring.rounds import Entry, ask_all, by_reference, run_loads, start, time_rounds
from wrn_deploy.pipeline.measuring.scoring import grade_all
from wrn_deploy.pipeline.quantization.overlap import check_overlap
from wrn_deploy.pipeline.quantization.state import check_trained_overlap
from wrn_deploy.progress import Progress
from wrn_deploy.spec import EXPERIMENTAL, Precision

__all__ = ["MeasureOptions", "bench_bundle", "check_labelled", "evaluate_bundle", "settings_of"]

PACKAGES = (
    "numpy", "torch", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx-cu13",
    "tensorrt-rtx-cu12", "pycuda",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MeasureOptions:
    """What to measure on, and which contenders.

    Args:
        data: labelled images.
        backends: these alone; None: all but those that are peers.
        precision: this one alone; None: all but those that are experimental, unless they were made.
        batches: batch sizes.
        rounds: turns of each contender at each batch size.
        iterations: the most runs in a turn.
        threads: CPU threads; None: all cores.
        limit: the first so many images; None: all.
        max_corrupt: so many corrupt images, or that share, may be left out.
        duration_s: how long a contender's turns at one batch size should take together; a turn has one run at least.
        streams: inferences at the same time.
        boundary: the section that is timed.
        baseline: the contender whose times the others' are divided by; None: the fp32 reference.
        loads: scenarios of LoadGen.
        logs: the folder for LoadGen's logs; needed where there are scenarios.
        everything: peers and experimental precisions too.
        pictures: the report holds the pixels of some images that got another class.
        workers: processes that decode while accuracy is measured; None: as `choose_workers` finds right.
    """

    data: str
    backends: tuple[str, ...] | None = None
    precision: Precision | None = None
    batches: tuple[int, ...] = (1, 8)
    rounds: int = 30
    iterations: int = 200
    threads: int | None = None
    limit: int | None = None
    max_corrupt: int | Share = 0
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
    """Measures latency, accuracy and memory of every contender that this machine can run, in interleaved rounds."""
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
    entries = [_entry(bundle, *pair) for pair in contenders() if pair in {*asked, *also}]
    named = [entry for entry in entries if (entry.backend, entry.precision) in asked]
    if all(entry.skipped for entry in named):  # no silent replacement
        kind = MachineError if any(isinstance(entry.found.obstacle, MachineError) for entry in named) else DeployError
        raise kind(f"nothing that was asked for can run here: {_reasons(named)}")
    images = min(len(source), options.limit or len(source))
    watch = watch_machine()
    with contextlib.ExitStack() as stack:
        for entry in entries:
            if entry.skipped is None:
                start(entry, stack, Work(
                    str(bundle.folder), entry.backend, entry.precision, settings.threads, options.data, options.limit,
                    options.max_corrupt, images_together(bundle.spec), options.streams, options.boundary,
                    options.workers,
                ))  # fmt: skip
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
    report_warnings(filter(None, [check_overlap(bundle, seen), check_trained_overlap(bundle, seen)]), progress)
    return _report(bundle, options, _Measured(entries, source, machine, settings, conditions))


def settings_of(options: MeasureOptions, machine: Machine) -> Settings:
    """What the report says of how it was measured."""
    timing = (options.batches, options.rounds, options.duration_s, options.iterations)
    return Settings(*timing, options.threads or machine.cores, options.streams, options.boundary)


def check_labelled(source: ImageSource, classes: int) -> None:
    """Before anything is timed: without labels there is no accuracy to tell beside the times."""
    first = next(source.items())
    if first.label is None:
        raise DeployError(f"{first.name} has no label: expected 0 to {classes - 1}, to measure accuracy")


def _asked(bundle: Bundle, options: MeasureOptions) -> list[tuple[str, Precision]]:
    """The contenders that were asked for.

    Raises:
        UsageError: a backend that was named, or all, do not know the precision that was named.
    """
    if options.backends is None and options.precision is None and not options.everything:
        return contenders(bundle)
    asked = [pair for pair in contenders() if _fits(bundle, pair, options)]
    known = {backend for backend, _ in asked}
    missing = [name for name in options.backends or () if name not in known]
    if missing or not asked:
        raise UsageError(
            f"backend {', '.join(missing) or 'any'} at precision {options.precision}: expected one of {_known()}"
        )
    return asked


def _fits(bundle: Bundle, contender: tuple[str, Precision], options: MeasureOptions) -> bool:
    backend, precision = contender
    if options.backends is None:
        if is_peer(backend) and not options.everything:
            return False
    elif backend not in options.backends:
        return False
    if options.precision is not None:
        return precision is options.precision
    made = precision not in EXPERIMENTAL or examine(bundle, backend, precision).artifact is not None
    return made or options.everything


def _compared_with(bundle: Bundle, options: MeasureOptions) -> list[tuple[str, Precision]]:
    """The fp32 rows, which are always measured, and the baseline: the others are compared with these."""
    if options.baseline not in (None, *contenders()):
        raise UsageError(f"baseline {'-'.join(options.baseline or ())}: expected one of {_known()}")
    fp32 = [pair for pair in contenders(bundle) if pair[1] is Precision.FP32]
    return fp32 if options.baseline is None else [*fp32, options.baseline]


def _entry(bundle: Bundle, backend: str, precision: Precision) -> Entry:
    found = examine(bundle, backend, precision)
    return Entry(backend, precision, found, found.skipped)


def _known() -> str:
    return ", ".join(f"{backend}-{precision}" for backend, precision in contenders())


def _reasons(skipped: Sequence[Entry]) -> str:
    names: dict[str | None, list[str]] = {}
    for entry in skipped:
        names.setdefault(entry.skipped, []).append(entry.name)
    return "; ".join(f"{', '.join(alike)}: {reason}" for reason, alike in names.items())


@dataclass(frozen=True, slots=True)
class _Measured:
    """What a report is made of."""

    entries: list[Entry]
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
    grades = grade_all(entries, reference, measured.source, bundle.spec, pictures=options.pictures)
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
            entry.row(grades.get(entry.name)) for entry in sorted(entries, key=lambda entry: entry is not reference)
        ),
        conditions=measured.conditions,
    )


def _baseline(entries: list[Entry], options: MeasureOptions, reference: Entry | None) -> str | None:
    if options.baseline is None:
        return reference.name if reference else None
    return next(entry.name for entry in entries if (entry.backend, entry.precision) == options.baseline)


def _reference(answered: list[Entry]) -> Entry | None:
    """The fp32 row that agreement and drops refer to: PyTorch's, else another's."""
    return next((entry for entry in by_reference(answered) if entry.precision is Precision.FP32), None)
