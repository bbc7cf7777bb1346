"""The contest of a benchmark: contenders in processes of their own, in turns; one that fails becomes a skipped row."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wrn_deploy.backend import Candidate, title_of
from wrn_deploy.bench.accuracy import Answers, score
from wrn_deploy.bench.isolate import Worker
from wrn_deploy.bench.report import Latency, LoadResult, Row, Settings, WarmUp
from wrn_deploy.bench.scenarios import Load
from wrn_deploy.bench.worker import Work
from wrn_deploy.errors import DeployError
from wrn_deploy.progress import Progress
from wrn_deploy.spec import Precision

__all__ = ["Entry", "ask_all", "run_loads", "start", "time_rounds"]

WARM_UP_S = (0.5, 10.0)  # seconds of warming up: the least, and the most until times are steady
PAUSE_S = 0.05  # before each turn, until the last contender's threads spin no more: p99 fell to a half or less


@dataclass(slots=True)
class Entry:
    """A contender on its way to becoming a row of the report."""

    backend: str
    precision: Precision
    found: Candidate
    skipped: str | None
    worker: Worker | None = None
    warmed: dict[int, WarmUp] = field(default_factory=dict)
    rounds: dict[int, list[tuple[float, ...]]] = field(default_factory=dict)
    answers: Answers | None = None
    loads: list[LoadResult] = field(default_factory=list)
    peak_rss_bytes: int | None = None

    @property
    def name(self) -> str:
        """The row's."""
        return f"{title_of(self.backend)} {self.precision}"

    def row(self, reference: Entry | None) -> Row:
        """What was measured, and the agreement with the reference."""
        latencies = tuple(Latency(batch, tuple(rounds), self.warmed[batch]) for batch, rounds in self.rounds.items())
        compared = reference.answers if reference else None
        artifact = self.found.artifact
        return Row(
            backend=self.backend,
            title=title_of(self.backend),
            precision=self.precision,
            skipped=self.skipped,
            artifact=artifact.path if artifact else None,
            sha256=artifact.sha256 if artifact else None,
            size_bytes=artifact.size_bytes if artifact else None,
            peak_rss_bytes=self.peak_rss_bytes,
            latencies=() if self.skipped else latencies,
            loads=() if self.skipped else tuple(self.loads),
            accuracy=None if self.skipped or self.answers is None else score(self.answers, compared),
        )


def start(entry: Entry, stack: contextlib.ExitStack, work: Work) -> None:
    """Starts the contender's process, which ends with `stack`."""
    try:
        entry.worker = stack.enter_context(Worker(work))
    except DeployError as error:
        entry.skipped = str(error)


def time_rounds(entries: list[Entry], settings: Settings, progress: Progress) -> None:
    """A B C, B C A, ...: a noisy moment of the machine meets all alike, and none always follows the same other.

    Thread pools spin for some milliseconds after their last work, and would take the next contender's cores meanwhile.
    """
    count = len(_working(entries))
    with progress.task(f"Timing {count} contenders", len(settings.batches) * (settings.rounds + 1) * count) as advance:
        for batch in settings.batches:
            turns: dict[str, int] = {}
            for entry, worker in _working(entries):
                with _failing(entry):
                    entry.warmed[batch], run_ms = worker.warm_up(batch, *WARM_UP_S)
                    runs = math.ceil(settings.duration_s * 1000 / settings.rounds / run_ms)
                    turns[entry.name] = max(1, min(settings.iterations, runs))
                advance(1)
            for index in range(settings.rounds):
                working = _working(entries)
                first = index % len(working) if working else 0
                for entry, worker in working[first:] + working[:first]:
                    time.sleep(PAUSE_S)
                    with _failing(entry):
                        entry.rounds.setdefault(batch, []).append(tuple(worker.time(batch, turns[entry.name])))
                    advance(1)


def run_loads(entries: list[Entry], loads: tuple[Load, ...], logs: Path, progress: Progress) -> None:
    """LoadGen's scenarios, one contender at a time; its own logs go into a folder for each, below `logs`."""
    for load in loads:
        for entry, worker in _working(entries):
            folder = logs / f"{entry.backend}-{entry.precision}-{load.scenario}"
            with progress.task(f"{load.scenario} of {entry.name}"), _failing(entry):
                entry.loads.append(worker.load(load, folder))


def ask_all(entries: list[Entry], images: int, progress: Progress) -> None:
    """Every contender's answers to all images, and the peak of its memory."""
    for entry, worker in _working(entries):
        with progress.task(f"Accuracy of {entry.name}", images) as advance, _failing(entry):
            entry.answers = worker.ask(advance)
            entry.peak_rss_bytes = worker.peak_rss_bytes()


def _working(entries: list[Entry]) -> list[tuple[Entry, Worker]]:
    """The contenders that run, and have not failed."""
    return [(entry, entry.worker) for entry in entries if entry.worker is not None]


@contextlib.contextmanager
def _failing(entry: Entry) -> Iterator[None]:
    """A contender that fails becomes a skipped row with its reason; the others go on."""
    try:
        yield
    except DeployError as error:
        entry.skipped = str(error)
        if entry.worker is not None:
            entry.worker.close()
        entry.worker = None
