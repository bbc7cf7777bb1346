"""Watches the machine while it is measured: before, every few seconds between rounds, and after."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import wrn_deploy
from wrn_deploy.bench.measuring.gpu import GpuReader, open_gpu
from wrn_deploy.bench.measuring.linux import CpuTimes, Linux
from wrn_deploy.bench.report.environment import Environment, Snapshot, find_warnings
from wrn_deploy.process.children import run_child

__all__ = ["MachineWatch", "git_revision", "watch_machine"]

EVERY_S = 5.0
MAX_SNAPSHOTS = 120  # from there on every other one is dropped, and they are taken half as often


class MachineWatch:
    """Begins when it is made; takes a snapshot only when asked to look, and then not too often."""

    def __init__(self, cpu: Linux, gpu: GpuReader | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._cpu, self._gpu, self._clock = cpu, gpu, clock
        self._during: list[Snapshot] = []
        self._taken: dict[int, float] = {}
        self._timed: tuple[int, CpuTimes | None] | None = None  # the batch size that is being timed, and its start
        self._every_s, self._start_s = EVERY_S, clock()
        self._before = self._snapshot()
        load = self._before.load_1min
        self._others = None if load is None else round(max(0.0, load - cpu.own_load()), 2)
        self._start_s = self._last_s = clock()
        self._times, self._energy_j = cpu.times(), gpu.energy_j() if gpu else None

    def look(self) -> None:
        """Takes a snapshot if the last one is some seconds old; call it while nothing is timed."""
        if self._clock() - self._last_s < self._every_s:
            return
        self._last_s = self._clock()
        self._during.append(self._snapshot())
        if len(self._during) >= MAX_SNAPSHOTS:
            self._during, self._every_s = self._during[1::2], 2 * self._every_s

    @contextlib.contextmanager
    def timing(self, batch: int) -> Iterator[None]:
        """Notes what part of the cores' time others take inside the block, in which a batch size is timed."""
        self._timed = (batch, self._cpu.times())
        yield
        self._note_taken()
        self._timed = None

    def end(self, cores: int, revision: str | None) -> Environment:
        """Ends the watch; returns the environment with warnings for a program that may run on `cores`."""
        environment = self.so_far(cores, revision)
        if self._gpu is not None:
            self._gpu.close()
        return environment

    def so_far(self, cores: int, revision: str | None) -> Environment:
        """The environment as `end` returns it, if that were now; the watch goes on."""
        self._note_taken()
        seconds, times = self._clock() - self._start_s, self._cpu.times()
        environment = Environment(
            before=self._before,
            after=self._snapshot(),
            energy_j=_difference(self._gpu.energy_j() if self._gpu else None, self._energy_j),
            git_revision=revision,
            during=tuple(self._during),
            cpu_limit=self._cpu.cpu_limit(),
            others_before=self._others,
            taken=dict(self._taken),
        )
        if self._times is not None and times is not None and seconds > 0:
            environment = _with_times(environment, self._times, times, seconds)
        warnings = tuple(remark.text for remark in find_warnings(environment, cores))
        return replace(environment, warnings=warnings)

    def _note_taken(self) -> None:
        """Notes what others have taken of the time since a batch size began to be timed, if one is."""
        if self._timed is None:
            return
        (batch, first), last = self._timed, self._cpu.times()
        if first is not None and last is not None and last.total > first.total:
            taken = max(0.0, _others_s(first, last)) + last.steal - first.steal
            self._taken[batch] = round(min(1.0, taken / (last.total - first.total)), 4)

    def _snapshot(self) -> Snapshot:
        snapshot = replace(self._cpu.state(), at_s=round(self._clock() - self._start_s, 1))
        return self._gpu.read(snapshot) if self._gpu else snapshot


def _with_times(environment: Environment, first: CpuTimes, last: CpuTimes, seconds: float) -> Environment:
    total = last.total - first.total
    return replace(
        environment,
        others_cores=round(max(0.0, _others_s(first, last) / seconds), 3),
        steal=round((last.steal - first.steal) / total, 5) if total > 0 else None,
        held_s=_difference(last.throttled_s, first.throttled_s),
        cpu_throttles=None if last.too_hot is None or first.too_hot is None else last.too_hot - first.too_hot,
    )


def _others_s(first: CpuTimes, last: CpuTimes) -> float:
    """The time of one core that others took in between, in seconds; a little below 0 if none did."""
    return (last.busy - first.busy) - (last.own - first.own)


def _difference(last: float | None, first: float | None) -> float | None:
    return None if last is None or first is None else round(last - first, 3)


def watch_machine() -> MachineWatch:
    """Starts watching this machine."""
    return MachineWatch(Linux(), open_gpu())


def git_revision(tree: Path | None = None) -> str | None:
    """Returns `git describe --always --dirty` of a checkout; None: it is not the top of one, or git is missing.

    `tree` None: the folder that holds the package.
    """
    top = Path(wrn_deploy.__file__).resolve().parents[1] if tree is None else tree
    if not (top / ".git").exists():
        return None
    # Variables such as GIT_DIR would lead to another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-C", str(top), "describe", "--always", "--dirty"]
    try:
        answer = run_child(command, timeout_s=30, env=environment)
        answer.check_returncode()
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
