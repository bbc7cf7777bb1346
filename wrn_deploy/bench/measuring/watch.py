"""Watches the machine while it is measured: before, every few seconds between rounds, and after."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import wrn_deploy
from wrn_deploy.bench.measuring.gpu import GpuReader, GpuState, open_gpu
from wrn_deploy.bench.measuring.linux import CpuTimes, Linux
from wrn_deploy.bench.report.environment import Environment, Snapshot, find_warnings

__all__ = ["Watch", "git_revision", "watch_machine"]

EVERY_S = 5.0
MOST = 120  # snapshots; from there on every other one is dropped, and they are taken half as often


@dataclass(frozen=True, slots=True)
class _Start:
    seconds: float
    times: CpuTimes | None
    energy_j: float | None
    others: float | None


class Watch:
    """Begins when it is made. It takes its snapshots only when it is asked to look, and then not too often."""

    def __init__(self, cpu: Linux, gpu: GpuReader | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._cpu, self._gpu, self._clock = cpu, gpu, clock
        self._during: list[Snapshot] = []
        self._every_s, self._start = EVERY_S, _Start(clock(), None, None, None)
        self._before = self._snapshot()
        load = self._before.load_1min
        others = None if load is None else round(max(0.0, load - cpu.own_load()), 2)
        self._start = _Start(clock(), cpu.times(), gpu.energy_j() if gpu else None, others)
        self._last_s = self._start.seconds

    def look(self) -> None:
        """Takes a snapshot if the last one is some seconds old; to be called while nothing is timed."""
        if self._clock() - self._last_s < self._every_s:
            return
        self._last_s = self._clock()
        self._during.append(self._snapshot())
        if len(self._during) >= MOST:
            self._during, self._every_s = self._during[1::2], 2 * self._every_s

    def end(self, cores: int, revision: str | None) -> Environment:
        """Ends the watch; returns the environment, with warnings for a program that may run on `cores` cores."""
        seconds, times = self._clock() - self._start.seconds, self._cpu.times()
        energy = self._gpu.energy_j() if self._gpu else None
        environment = Environment(
            before=self._before,
            after=self._snapshot(),
            energy_j=_difference(self._start.energy_j, energy),
            git_revision=revision,
            during=tuple(self._during),
            cpu_limit=self._cpu.cpu_limit(),
            others_before=self._start.others,
        )
        if self._start.times is not None and times is not None and seconds > 0:
            environment = _with_times(environment, self._start.times, times, seconds)
        if self._gpu is not None:
            self._gpu.close()
        return replace(environment, warnings=find_warnings(environment, cores))

    def _snapshot(self) -> Snapshot:
        cpu, gpu = self._cpu.state(), self._gpu.read() if self._gpu else GpuState()
        return Snapshot(
            load_1min=cpu.load_1min, governor=cpu.governor, cpu_mhz=cpu.mhz, gpu_mhz=gpu.mhz,
            gpu_memory_mhz=gpu.memory_mhz, temperature_c=gpu.temperature_c, power_w=gpu.power_w,
            throttle_reasons=gpu.throttle_reasons, cpu_max_mhz=cpu.max_mhz,
            at_s=round(self._clock() - self._start.seconds, 1),
        )  # fmt: skip


def watch_machine() -> Watch:
    """Begins to watch this machine."""
    return Watch(Linux(), open_gpu())


def _with_times(environment: Environment, first: CpuTimes, last: CpuTimes, seconds: float) -> Environment:
    others = (last.busy - first.busy) - (last.own - first.own)
    total = last.total - first.total
    return replace(
        environment,
        others_cores=round(max(0.0, others / seconds), 3),
        steal=round((last.steal - first.steal) / total, 5) if total > 0 else None,
        held_s=_difference(first.held, last.held),
        cpu_throttles=None if last.throttles is None or first.throttles is None else last.throttles - first.throttles,
    )


def _difference(first: float | None, last: float | None) -> float | None:
    return None if first is None or last is None else round(last - first, 3)


def git_revision(tree: Path | None = None) -> str | None:
    """As `git describe --always --dirty` says it; None: the program is installed, not a checkout, or git is missing.

    Args:
        tree: the folder that must itself be the top of the checkout; None: the one that holds the package.
    """
    top = Path(wrn_deploy.__file__).resolve().parents[1] if tree is None else tree
    if not (top / ".git").exists():
        return None
    # Variables such as GIT_DIR would lead to another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-C", str(top), "describe", "--always", "--dirty"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True, env=environment)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
