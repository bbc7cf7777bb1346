"""Reads from Linux how the CPU is doing: load, clocks, limits, and who used its time; None where nothing is told."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CpuState", "CpuTimes", "Linux"]

LOAD_S = 60.0  # the time over which the one-minute load average forgets (proc_loadavg(5))
CPUS = "sys/devices/system/cpu"


@dataclass(frozen=True, slots=True)
class CpuState:
    """The CPU at one moment, as in `Snapshot`."""

    load_1min: float | None
    governor: str | None
    mhz: float | None
    max_mhz: float | None


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Counters since the machine started, in seconds of one core; `own` is this process's and its children's.

    `held` is for how long a control group's limit has stopped it, `throttles` how often a core was too hot.
    """

    total: float
    busy: float
    steal: float
    own: float
    cores: int
    held: float | None
    throttles: int | None


class Linux:
    """The files in /proc and /sys, below `root`; `pid` is the process that counts as own."""

    def __init__(self, root: Path = Path("/"), pid: int | None = None) -> None:
        self._root = root
        self._pid = os.getpid() if pid is None else pid
        self._ticks = os.sysconf("SC_CLK_TCK")

    def state(self) -> CpuState:
        """The CPU now. Where several cores differ: every governor, and the highest clock."""
        load = self._words("proc/loadavg")
        governors = sorted({text for _, text in self._cores("cpufreq/scaling_governor")})
        clocks = [int(text) / 1000 for _, text in self._cores("cpufreq/scaling_cur_freq") if text.isdecimal()]
        limits = [int(text) / 1000 for _, text in self._cores("cpufreq/scaling_max_freq") if text.isdecimal()]
        mhz = max(clocks or self._cpuinfo_mhz(), default=None)
        return CpuState(
            float(load[0]) if load else None,
            ", ".join(governors) or None,
            None if mhz is None else round(mhz, 1),
            max(limits, default=None),
        )

    def times(self) -> CpuTimes | None:
        """The counters now; None where /proc/stat does not tell."""
        lines = self._text("proc/stat").splitlines()
        if not lines or not lines[0].startswith("cpu "):
            return None
        ticks = [int(word) for word in lines[0].split()[1:]]
        # user nice system idle iowait irq softirq steal; guests' times are in user and nice already (proc_stat(5))
        user, nice, system, idle, iowait, irq, softirq, steal = (*ticks[:8], *[0] * (8 - len(ticks[:8])))
        busy = user + nice + system + irq + softirq
        cores = sum(line[:3] == "cpu" and line[3:4].isdecimal() for line in lines)
        total = busy + idle + iowait + steal
        hot = [int(text) for _, text in self._cores("thermal_throttle/core_throttle_count") if text.isdecimal()]
        second = float(self._ticks)
        return CpuTimes(
            total / second, busy / second, steal / second, self._family_s(), cores, self._held_s(),
            sum(hot) if hot else None,
        )  # fmt: skip

    def own_load(self) -> float:
        """What this process and its children add to the load average, if they have worked evenly since it started."""
        fields, up = self._stat(self._pid), self._words("proc/uptime")
        if fields is None or not up:
            return 0.0
        age = max(float(up[0]) - fields[19] / self._ticks, 1e-3)
        return self._family_s() / age * (1 - math.exp(-age / LOAD_S))

    def cpu_limit(self) -> float | None:
        """How many cores' worth of time the control groups allow this process; None: as many as there are."""
        limits = []
        for group in self._groups():
            words = self._words(f"{group}/cpu.max")  # version 2: "max 100000" or "150000 100000", in microseconds
            if not words:
                quota, period = (self._words(f"{group}/cpu.cfs_{name}_us") for name in ("quota", "period"))
                words = [*quota, *period]
            if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal() and int(words[1]) > 0:
                limits.append(int(words[0]) / int(words[1]))
        return min(limits, default=None)

    def _held_s(self) -> float | None:
        """The longest that any of the groups was stopped; version 2 counts microseconds, version 1 nanoseconds."""
        held = []
        for group in self._groups():
            for line in self._text(f"{group}/cpu.stat").splitlines():
                name, _, value = line.partition(" ")
                if name in ("throttled_usec", "throttled_time") and value.isdecimal():
                    held.append(int(value) / (1e6 if name == "throttled_usec" else 1e9))
        return max(held, default=None)

    def _groups(self) -> Iterator[str]:
        """The folders of this process's control groups that may limit the CPU, from its own up to the root."""
        for line in self._text(f"proc/{self._pid}/cgroup").splitlines():
            controllers, _, path = line.partition(":")[2].partition(":")
            if controllers and "cpu" not in controllers.split(","):
                continue
            bases = [controllers, "cpu"] if controllers else ["", "unified"]
            parts = [part for part in path.split("/") if part not in ("", "..")]
            for base in dict.fromkeys(bases):
                for length in range(len(parts), -1, -1):
                    yield "/".join(part for part in ("sys/fs/cgroup", base, *parts[:length]) if part)

    def _family_s(self) -> float:
        """CPU time of this process and all below it, those that have ended included, in seconds."""
        known: dict[int, tuple[int, ...]] = {}
        for folder in (self._root / "proc").glob("[0-9]*"):
            fields = self._stat(int(folder.name)) if folder.name.isdecimal() else None
            if fields is not None:
                known[int(folder.name)] = fields
        family, found = {self._pid}, 0
        while len(family) > found:
            found = len(family)
            family |= {pid for pid, fields in known.items() if fields[1] in family}
        # utime, stime, and those of children that were waited for (proc_pid_stat(5), fields 14 to 17)
        return sum(sum(known[pid][11:15]) for pid in family if pid in known) / self._ticks

    def _stat(self, pid: int) -> tuple[int, ...] | None:
        """What follows the name in /proc/PID/stat, from the state (as 0) on; the name may hold blanks and brackets."""
        words = self._text(f"proc/{pid}/stat").rpartition(")")[2].split()
        return (0, *(int(word) for word in words[1:20])) if len(words) >= 20 else None

    def _cpuinfo_mhz(self) -> list[float]:
        lines = [line for line in self._text("proc/cpuinfo").splitlines() if line.startswith("cpu MHz")]
        return [float(line.partition(":")[2]) for line in lines]

    def _cores(self, name: str) -> Iterator[tuple[str, str]]:
        for folder in sorted((self._root / CPUS).glob("cpu[0-9]*")):
            text = self._text(f"{CPUS}/{folder.name}/{name}").strip()
            if text:
                yield folder.name, text

    def _words(self, path: str) -> list[str]:
        return self._text(path).split()

    def _text(self, path: str) -> str:
        """What is in a file below the root; empty where there is none, or none that may be read."""
        try:
            return (self._root / path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
