"""Times candidates as `wrn-deploy bench` does, without accuracy and CPU rows; and puts the roofline beside them."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.gpu.limits import Limits, find_limits
from benchmarks.gpu.prepare import PHOTOS, make_images
from benchmarks.gpu.roofline import kernels_of, roofline_s
from benchmarks.gpu.stand_in import STAND_IN, is_stand_in
from benchmarks.gpu.task import Task
from wrn_deploy.bench.measuring.watch import git_revision, watch_machine
from wrn_deploy.bench.measuring.worker import WorkerConfig
from wrn_deploy.bench.report.environment import Environment
from wrn_deploy.bench.report.report import Boundary, Report, Row, Settings
from wrn_deploy.bundle import Bundle
from wrn_deploy.formatting import digits, percent
from wrn_deploy.machine import describe_machine, find_gpu, package_versions
from wrn_deploy.pipeline.measuring.measure import PACKAGES
from wrn_deploy.pipeline.measuring.rounds import RowBuilder, start, time_rounds
from wrn_deploy.runtime.backend import examine
from wrn_deploy.spec import Precision
from wrn_deploy.version import __version__

__all__ = ["HEADERS", "SPEEDS", "Pair", "cells_of", "time_candidates"]

Pair = tuple[str, Precision]
# Turns of each candidate at a batch size. Decoding takes most of e2e, up to a second a run.
ROUNDS = {Boundary.COMPUTE: 10, Boundary.TRANSFER: 10, Boundary.E2E: 3}
RUNS = 50  # the most in a turn
WARM_S = 1.0  # what warming a candidate up takes at a batch size, besides its runs
OPEN_S = 5.0  # what opening a candidate takes
DURATION_S = (0.3, 3.0)  # the least and the most that a candidate's turns take at a batch size
SPEEDS = "speeds"  # the raw result with the lines of all tables
HEADERS = ("Candidate", "Batch", "median", "min", "device", "images/s", "roofline", "of roofline")


def time_candidates(
    task: Task, bundle: Bundle, pairs: Sequence[Pair], *, batches: Sequence[int], boundary: Boundary, seconds: float
) -> Report:
    """Times candidates in interleaved rounds at one boundary, in about `seconds`, and records a table of them.

    A candidate that cannot run is a finding with its reason.
    """
    turns = len(pairs) * len(batches)
    duration_s = (seconds - OPEN_S * len(pairs)) / turns - WARM_S
    duration_s = max(DURATION_S[0], min(DURATION_S[1], duration_s))
    machine, data = describe_machine(), make_images(bundle, task.out, max(PHOTOS, *batches))
    settings = Settings(
        batches=tuple(batches),
        rounds=ROUNDS[boundary],
        duration_s=round(duration_s, 2),
        iterations=RUNS,
        threads=machine.cores,
        streams=1,
        boundary=boundary,
    )
    entries = []
    for backend, precision in pairs:
        found = examine(bundle, backend, precision)
        entries.append(RowBuilder(backend=backend, precision=precision, found=found, skipped=found.skipped))
    watch = watch_machine()
    with contextlib.ExitStack() as stack:
        for entry in entries:
            if entry.skipped is None:
                task.note(f"opening {entry.name}")
                start(entry, stack, _config(bundle, entry, str(data), boundary))
        time_rounds(entries, settings, task, watch)
        environment = watch.end(machine.cores, git_revision())
    report = Report(
        model=bundle.spec.name,
        random_weights=bundle.random_weights,
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        data="generated JPEG images",
        data_digest="",
        corrupt=(),
        reference=None,
        baseline=None,
        machine=machine,
        versions={"wrn-deploy": __version__, **package_versions(*PACKAGES)},
        settings=settings,
        rows=tuple(entry.row(None) for entry in entries),
        environment=environment,
    )
    _record(task, bundle, report)
    return report


def _config(bundle: Bundle, entry: RowBuilder, data: str, boundary: Boundary) -> WorkerConfig:
    return WorkerConfig(
        folder=str(bundle.folder),
        backend=entry.backend,
        precision=entry.precision,
        threads=None,
        data=data,
        limit=None,
        max_corrupt=0,
        accuracy_batch=1,
        boundary=boundary,
    )


def _record(task: Task, bundle: Bundle, report: Report) -> None:
    """Keeps the report and its table; says what was skipped, and how fast the GPU's clock was."""
    reports: list[Any] = task.outcome.raw.get("reports", [])
    task.keep("reports", [*reports, json.loads(report.to_json())])
    for row in report.rows:
        text = f"{row.name} skipped: {row.skipped}"
        if row.skipped is not None and all(finding.text != text for finding in task.outcome.findings):
            task.found(text)
    gpu = find_gpu()
    limits = find_limits(gpu.name) if gpu else None
    if limits is None:
        basis = f"no roofline: the limits of {gpu.name if gpu else 'this machine'} are not known"
    else:
        basis = f"roofline of {limits.name}: {limits.source}"
    boundary = report.settings.boundary
    about = f"{bundle.spec.name}, {boundary}: {boundary.meaning}. Milliseconds; {basis}; {_clocks(report.environment)}"
    if is_stand_in():
        about = f"{STAND_IN}. {about}"
    rows = [cells for row in report.rows for cells in cells_of(bundle, row, limits)]
    named = [dict(zip(HEADERS, cells, strict=True)) for cells in rows]
    speeds: list[Any] = task.outcome.raw.get(SPEEDS, [])
    task.keep(SPEEDS, [*speeds, *({"network": bundle.spec.name, "boundary": boundary, **each} for each in named)])
    if rows:
        task.table(f"{about}.", HEADERS, rows)


def cells_of(bundle: Bundle, row: Row, limits: Limits | None) -> list[tuple[str, ...]]:
    """The lines of a candidate, one for each batch size, as HEADERS says; without limits there is no roofline."""
    found: list[tuple[str, ...]] = []
    for latency in row.latencies:
        median = statistics.median(latency.samples_ms)
        device = [each for turn in latency.device_ms for each in turn]
        best_ms = None
        if limits is not None:
            kernels = kernels_of(bundle.file(bundle.find("onnx-fp32")), latency.batch)
            size = {Precision.INT8: 1, Precision.FP32: 4}.get(row.precision, 2)
            best_ms = 1000 * roofline_s(kernels, limits, size)
        found.append(
            (
                row.name,
                str(latency.batch),
                digits(median),
                digits(min(latency.samples_ms)),
                digits(statistics.median(device)) if device else "",
                digits(1000 * latency.batch / median),
                digits(best_ms) if best_ms is not None else "",
                percent(best_ms / median) if best_ms is not None else "",
            )
        )
    return found


def _clocks(environment: Environment | None) -> str:
    """The GPU's clock, temperature and power while it was timed, or that they are not known."""
    snapshots = () if environment is None else (*environment.during, environment.after)
    mhz = [each.gpu_mhz for each in snapshots if each.gpu_mhz is not None]
    if not mhz:
        return "the GPU's clocks are not known: NVML does not tell them"
    clock = f"{min(mhz):.0f} to {max(mhz):.0f} MHz" if min(mhz) < max(mhz) else f"{mhz[0]:.0f} MHz"
    hot = max((each.temperature_c for each in snapshots if each.temperature_c is not None), default=None)
    watts = max((each.power_w for each in snapshots if each.power_w is not None), default=None)
    slowed = sorted({name for each in snapshots for name in each.throttle_reasons or ()})
    more = [f"up to {hot:.0f} degrees C"] if hot is not None else []
    more += [f"up to {watts:.0f} W"] if watts is not None else []
    more += [f"clock lowered by {', '.join(slowed)}"] if slowed else []
    return f"the GPU at {', '.join([clock, *more])}"
