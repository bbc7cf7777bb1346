"""The interleaved rounds of a benchmark: each candidate in its own process; one that fails becomes a skipped row."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wrn_deploy.bench.measuring.accuracy import Answers, LogitFile
from wrn_deploy.bench.measuring.isolate import Worker
from wrn_deploy.bench.measuring.latency import Times
from wrn_deploy.bench.measuring.loadgen import Load
from wrn_deploy.bench.measuring.watch import MachineWatch
from wrn_deploy.bench.measuring.worker import WorkerConfig
from wrn_deploy.bench.report.report import Accuracy, Latency, LoadResult, Row, Settings, WarmUp
from wrn_deploy.data.sampling.block import Block
from wrn_deploy.errors import DeployError
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Progress
from wrn_deploy.runtime.backend import Candidate
from wrn_deploy.serving.served import ServedModelRuntime
from wrn_deploy.spec import Precision

__all__ = ["RowBuilder", "ask_all", "by_reference", "run_loads", "start", "time_rounds"]

WARM_UP_S = (0.5, 10.0)  # minimum, and maximum if times do not get steady before
# Slept before each turn. Thread pools spin for some milliseconds after their last work and would take the next
# candidate's cores; with the pause, p99 fell to half or less.
PAUSE_S = 0.05


@dataclass(slots=True, kw_only=True)
class RowBuilder:
    """Collects what is measured of one candidate, and makes a row of the report from it."""

    backend: str
    precision: Precision
    found: Candidate
    skipped: str | None
    worker: Worker | None = None
    runs: int = 1  # in a turn
    warmed: dict[int, WarmUp] = field(default_factory=dict)
    rounds: dict[int, list[Times]] = field(default_factory=dict)
    answers: Answers | None = None
    loads: list[LoadResult] = field(default_factory=list)
    peak_rss_bytes: int | None = None

    @property
    def name(self) -> str:
        """The row's name."""
        return f"{self.found.runtime.title} {self.precision}"

    def skip(self, reason: str) -> None:
        """Gives the candidate up, and ends its process."""
        self.skipped = reason
        if self.worker is not None:
            self.worker.close()
        self.worker = None

    def row(self, accuracy: Accuracy | None) -> Row:
        """Returns what was measured, with the accuracy of its answers."""
        artifact = self.found.artifact
        return Row(
            backend=self.backend,
            title=self.found.runtime.title,
            precision=self.precision,
            skipped=self.skipped,
            artifact=artifact.path if artifact else None,
            sha256=artifact.sha256 if artifact else None,
            size_bytes=artifact.size_bytes if artifact else None,
            peak_rss_bytes=self.peak_rss_bytes,
            latencies=() if self.skipped else tuple(map(self.latency, self.rounds)),
            loads=() if self.skipped else tuple(self.loads),
            accuracy=None if self.skipped else accuracy,
        )

    def latency(self, batch: int) -> Latency:
        """Returns its times at a batch size, by rounds."""
        host_ms = tuple(times.host_ms for times in self.rounds[batch])
        device_ms = tuple(times.device_ms for times in self.rounds[batch])
        return Latency(batch, host_ms, self.warmed[batch], device_ms if all(device_ms) else ())


def start(entry: RowBuilder, stack: contextlib.ExitStack, config: WorkerConfig) -> None:
    """Starts the candidate's process, which ends with `stack`."""
    with _failing(entry):
        entry.worker = stack.enter_context(Worker(config))


def time_rounds(
    entries: list[RowBuilder],
    settings: Settings,
    progress: Progress,
    watch: MachineWatch | None = None,
    *,
    limit_s: float | None = None,
    keep: Callable[[], None] = lambda: None,
) -> int:
    """Times the candidates in rotating order: A B C, B C A, ...; returns the most rounds that a batch size has.

    A noisy moment of the machine then hits all of them alike, and none always follows the same other. Rounds that
    the entries have already are not taken again.

    Args:
        entries: the candidates.
        settings: batch sizes and rounds.
        progress: counts turns.
        watch: looks after each round, while nothing is timed, and at what others take during a batch size's rounds.
        limit_s: is shared out among the batch sizes that are left, with their warm-ups: no round begins after a size's
            share, but for its first.
        keep: is called after each round.
    """
    count, begin = len(_working(entries)), time.monotonic()
    done = {batch: _rounds_done(entries, batch) for batch in settings.batches}
    left = [batch for batch in settings.batches if done[batch] < settings.rounds]
    turns = sum((settings.rounds - done[batch] + 1) * count for batch in left)
    with progress.task(f"Timing {count} candidates", turns) as advance:
        for number, batch in enumerate(left, start=1):
            end = math.inf if limit_s is None else begin + limit_s * number / len(left)
            for entry, worker in _working(entries):
                with _failing(entry):
                    warmed, run_ms = worker.warm_up(batch, *WARM_UP_S)
                    entry.warmed[batch] = _added(entry.warmed.get(batch), warmed)
                    runs = math.ceil(settings.duration_s * 1000 / settings.rounds / run_ms)
                    entry.runs = max(1, min(settings.iterations, runs))
                advance(1)
            with watch.timing(batch) if watch else contextlib.nullcontext():
                for index in range(first := done[batch], settings.rounds):
                    if index > first and time.monotonic() > end:
                        progress.warn(f"time limit: {index} of {settings.rounds} rounds at batch {batch}")
                        break
                    _take_turns(entries, index, batch, advance)
                    done[batch] = index + 1
                    if watch is not None:
                        watch.look()
                    keep()
    return max(done.values())


def _rounds_done(entries: Sequence[RowBuilder], batch: int) -> int:
    """The rounds that each candidate has already."""
    return min((len(entry.rounds.get(batch, ())) for entry, _ in _working(entries)), default=0)


def _added(before: WarmUp | None, after: WarmUp) -> WarmUp:
    """The warm-ups of two sittings as one; steady only if both were."""
    if before is None:
        return after
    return WarmUp(before.seconds + after.seconds, before.runs + after.runs, before.steady and after.steady)


def _take_turns(entries: list[RowBuilder], index: int, batch: int, advance: Callable[[int], object]) -> None:
    """One round: each candidate once, the first one another in each round."""
    working = _working(entries)
    first = index % len(working) if working else 0
    for entry, worker in working[first:] + working[:first]:
        time.sleep(PAUSE_S)
        with _failing(entry):
            entry.rounds.setdefault(batch, []).append(worker.time(batch, entry.runs))
        advance(1)


def run_loads(entries: list[RowBuilder], loads: tuple[Load, ...], logs: Path, progress: Progress) -> None:
    """Runs LoadGen's scenarios, one candidate at a time; each has a folder for LoadGen's logs below `logs`."""
    for load in loads:
        for entry, worker in _working(entries):
            folder = logs / f"{entry.backend}-{entry.precision}-{load.scenario}"
            with progress.task(f"{load.scenario} of {entry.name}"), _failing(entry):
                entry.loads.append(worker.load(load, folder))


def ask_all(entries: list[RowBuilder], images: int, progress: Progress, block: Block | None = None) -> None:
    """Collects every candidate's answers to all images, or to those of one shard, and its peak memory.

    The reference answers first and writes its logits to a temporary file, 4 bytes for each class and image. The
    others compare theirs with that file while they answer, so no logits are sent or kept in memory.
    """
    with scratch_folder() as folder:
        file, known = folder / "reference.f32", False
        for entry in by_reference([entry for entry, _ in _working(entries)]):
            assert entry.worker is not None
            entry.answers, leads = None, not known and entry.precision is Precision.FP32
            logits = LogitFile(file, write=leads) if leads or known else None
            with progress.task(f"Accuracy of {entry.name}", images) as advance, _failing(entry):
                answers = entry.worker.ask(advance, logits, block)
                if not isinstance(entry.found.runtime, ServedModelRuntime):  # its process is only the client
                    entry.peak_rss_bytes = entry.worker.peak_rss_bytes()
                entry.answers, known = answers, known or leads


def by_reference(entries: Sequence[RowBuilder]) -> list[RowBuilder]:
    """Sorts PyTorch's fp32 first, then other fp32 candidates, which the others may be compared with; else stable."""
    return sorted(entries, key=lambda entry: (entry.backend != "torch") if entry.precision is Precision.FP32 else 2)


def _working(entries: Sequence[RowBuilder]) -> list[tuple[RowBuilder, Worker]]:
    """The candidates that run, and have not failed."""
    return [(entry, entry.worker) for entry in entries if entry.worker is not None]


@contextlib.contextmanager
def _failing(entry: RowBuilder) -> Iterator[None]:
    """A candidate that fails becomes a skipped row with its reason; the others go on."""
    try:
        yield
    except DeployError as error:
        entry.skip(str(error))
