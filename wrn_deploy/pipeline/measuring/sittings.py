"""The rounds of an interrupted benchmark, kept in a file so that the same command goes on with them."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.bench.measuring.latency import Times
from wrn_deploy.bench.measuring.watch import MachineWatch, git_revision
from wrn_deploy.bench.report.environment import Sitting
from wrn_deploy.bench.report.record import read_record
from wrn_deploy.bench.report.report import Settings, WarmUp
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.files.new_file import write_whole
from wrn_deploy.formatting import count
from wrn_deploy.machine import Machine, usable_cores
from wrn_deploy.pipeline.measuring.rounds import RowBuilder
from wrn_deploy.progress import Progress

__all__ = ["KEPT", "RoundKeeper", "describe_bench", "keep_rounds"]

KEPT = "bench.rounds.json"  # beside the reports, until all rounds are done
FORMAT = 1
KEEPS = "finished rounds are saved in {}: run the same command again to continue"
EVERY_S = 5.0  # a kill loses the rounds of so many seconds; to write them takes up to 0.3 s
SHOWN = 3  # differences that an error names


@dataclass(frozen=True, slots=True, kw_only=True)
class _KeptRow:
    """What was timed of one candidate, by batch size: complete rounds alone, which every candidate has."""

    name: str
    skipped: str | None
    warmed: Mapping[int, WarmUp]
    rounds: Mapping[int, tuple[Times, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """The file: what was asked for, in texts by name, each sitting so far, and the candidates."""

    asked: Mapping[str, str]
    sittings: tuple[Sitting, ...]
    rows: tuple[_KeptRow, ...]


class RoundKeeper:
    """Gives candidates the rounds of earlier sittings, and writes all of them every few seconds."""

    def __init__(
        self, file: Path | None, asked: Mapping[str, str], entries: Sequence[RowBuilder], watch: MachineWatch
    ) -> None:
        self.file, self._asked, self._entries, self._watch = file, asked, entries, watch
        self._began, self._revision = dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), git_revision()
        self._before: dict[int, int] = {}  # the rounds of earlier sittings by batch size
        self._written: dict[int, int] = {}  # those in the file
        self._written_s = -math.inf
        self.earlier: tuple[Sitting, ...] = ()

    def resume(self, progress: Progress) -> None:
        """Puts the rounds in the file, if there is one, into the candidates.

        Raises:
            UsageError: the file is of a benchmark of something else; the text says what differs.
            DeployError: it is damaged.
        """
        if self.file is None or not self.file.exists():
            return
        try:
            kept = read_record(
                self.file, _Kept, version=FORMAT, name="a file of rounds", command="wrn-deploy bench", extra="forbid"
            )
        except DeployError as error:
            raise DeployError(f"{error}, or pass --restart to measure everything again") from error
        self._check(kept, self.file)
        for entry in self._entries:
            row = next((row for row in kept.rows if row.name == entry.name), None)
            if row is not None and row.skipped is None:
                entry.warmed, entry.rounds = dict(row.warmed), {size: [*each] for size, each in row.rounds.items()}
            elif row is not None:
                entry.skip(row.skipped or "")
        self.earlier = kept.sittings
        self._before = self._written = _complete(self._entries)
        done = " and ".join(f"{number} at batch {batch}" for batch, number in self._before.items())
        progress.note(f"{self.file}: continues after {done} rounds of {count(len(kept.sittings), 'earlier session')}")

    def note(self) -> None:
        """Writes the complete rounds if some seconds have passed; call it while nothing is timed."""
        if time.monotonic() - self._written_s >= EVERY_S:
            self.write()

    def write(self) -> None:
        """Writes the complete rounds, if there are new ones."""
        complete = _complete(self._entries)
        if self.file is None or complete == self._written:
            return
        here = {batch: number - self._before.get(batch, 0) for batch, number in complete.items()}
        environment = self._watch.so_far(usable_cores(), self._revision)
        rows = tuple(
            _KeptRow(
                name=entry.name,
                skipped=entry.skipped,
                warmed=entry.warmed,
                rounds={batch: tuple(entry.rounds.get(batch, ())[:number]) for batch, number in complete.items()},
            )
            for entry in self._entries
            if entry.rounds
        )
        sitting = Sitting(began=self._began, rounds=here, environment=environment)
        kept = _Kept(asked=self._asked, sittings=(*self.earlier, sitting), rows=rows)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.file, json.dumps({"format": FORMAT, **dataclasses.asdict(kept)}) + "\n")
        self._written, self._written_s = complete, time.monotonic()

    def is_complete(self, settings: Settings) -> bool:
        """Whether all rounds at all batch sizes are done."""
        complete = _complete(self._entries)
        return all(complete.get(batch, settings.rounds) >= settings.rounds for batch in settings.batches)

    def _check(self, kept: _Kept, file: Path) -> None:
        names = dict.fromkeys((*kept.asked, *self._asked))
        differing = [name for name in names if kept.asked.get(name) != self._asked.get(name)]
        if not differing:
            return
        texts = [f"{name} {kept.asked.get(name, 'none')}, now {self._asked.get(name, 'none')}" for name in differing]
        more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
        raise UsageError(
            f"{file} contains rounds of a different interrupted bench ({'; '.join(texts[:SHOWN])}{more}): "
            "run that command again to continue, pass --restart to discard its rounds, or choose another --out"
        )


@contextlib.contextmanager
def keep_rounds(keeper: RoundKeeper, settings: Settings, progress: Progress, *, restart: bool) -> Iterator[RoundKeeper]:
    """Times go on after the rounds that are kept; the file stays if the block is interrupted or leaves rounds out.

    Args:
        keeper: with the candidates, of which nothing is timed yet.
        settings: how many rounds there are to be.
        progress: notes what is taken over, and what stays.
        restart: removes the file first.

    Raises:
        UsageError, DeployError: as `RoundKeeper.resume`.
    """
    file = keeper.file
    if restart and file is not None:
        file.unlink(missing_ok=True)
    keeper.resume(progress)
    try:
        yield keeper
    except BaseException:
        keeper.write()
        if file is not None and file.exists():
            progress.warn(KEEPS.format(file))
        raise
    if file is not None and keeper.is_complete(settings):
        file.unlink(missing_ok=True)
    elif file is not None:
        progress.warn(KEEPS.format(file))


def describe_bench(
    entries: Sequence[RowBuilder], settings: Settings, data: str, machine: Machine, versions: Mapping[str, str]
) -> dict[str, str]:
    """Everything that must be the same for rounds of two sittings to belong together, in texts by name."""
    running = [entry for entry in entries if entry.skipped is None]
    artifacts = {entry.found.artifact.path: entry.found.artifact for entry in running if entry.found.artifact}
    gpu = "none" if machine.gpu is None else f"{machine.gpu.name}, driver {machine.gpu.driver}"
    return {
        **{name.removesuffix("_s"): str(value) for name, value in dataclasses.asdict(settings).items()},
        "data": data,
        "candidates": ", ".join(entry.name for entry in running),
        **{path: artifact.sha256[:12] for path, artifact in artifacts.items()},
        "machine": f"{machine.cpu}, {count(machine.cores, 'core')}",
        "GPU": gpu,
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(versions.items())),
    }


def _complete(entries: Sequence[RowBuilder]) -> dict[int, int]:
    """The number of rounds at each batch size that every candidate has that did not fail."""
    timed = [entry for entry in entries if entry.rounds and not entry.skipped]
    sizes = dict.fromkeys(batch for entry in timed for batch in entry.rounds)
    return {batch: min(len(entry.rounds.get(batch, ())) for entry in timed) for batch in sizes}
