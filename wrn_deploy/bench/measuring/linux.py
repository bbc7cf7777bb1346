"""Reads the CPU's state from Linux: load, clocks, limits, and who used its time; None if unknown."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.bench.report.environment import Snapshot

__all__ = ["CpuTimes", "Linux"]

LOAD_S = 60.0  # the time over which the one-minute load average forgets (proc_loadavg(5))
CPUS = "sys/devices/system/cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuTimes:
    """Counters since the machine started, in seconds of one core, of the cores that this process may run on.

    `own` is this process's time and its children's.
    `throttled_s` is how long a control group's limit stopped it, `too_hot` how often a core was too hot.
    """

    total: float
    busy: float
    steal: float
    own: float
    throttled_s: float | None
    too_hot: int | None


class Linux:
    """The files in /proc and /sys, below `root`; `pid` is the process that counts as own.

    `cores` are the numbers of those that it may run on: what others do on the machine's other cores disturbs nothing.
    """

    def __init__(self, root: Path = Path("/"), pid: int | None = None, cores: Collection[int] | None = None) -> None:
        self._root = root
        self._usable = (
            cores if cores is not None else os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
        )
        self._pid = os.getpid() if pid is None else pid
        self._ticks = os.sysconf("SC_CLK_TCK")

    def state(self) -> Snapshot:
        """Reads the CPU's part of a snapshot; if cores differ, every governor and the highest clock."""
        load = self._words("proc/loadavg")
        clocks = [khz / 1000 for khz in self._core_numbers("cpufreq/scaling_cur_freq")]
        if not clocks:
            lines = [line for line in self._text("proc/cpuinfo").splitlines() if line.startswith("cpu MHz")]
            clocks = [float(line.partition(":")[2]) for line in lines]
        return Snapshot(
            load_1min=float(load[0]) if load else None,
            governor=", ".join(sorted(set(self._cores("cpufreq/scaling_governor")))) or None,
            cpu_mhz=round(max(clocks), 1) if clocks else None,
            cpu_max_mhz=max((khz / 1000 for khz in self._core_numbers("cpufreq/scaling_max_freq")), default=None),
        )

    def times(self) -> CpuTimes | None:
        """Reads the counters; None if there is no /proc/stat."""
        lines = {line.partition(" ")[0]: line.split()[1:] for line in self._text("proc/stat").splitlines()}
        whole = [lines["cpu"]] if "cpu" in lines else []
        counters = [lines[f"cpu{core}"] for core in self._usable if f"cpu{core}" in lines] or whole
        if not counters:
            return None
        # user nice system idle iowait irq softirq steal; guests' times are in user and nice already (proc_stat(5))
        ticks = [[int(word) for word in [*words, *["0"] * 8][:8]] for words in counters]
        user, nice, system, idle, iowait, irq, softirq, steal = map(sum, zip(*ticks, strict=True))
        busy = user + nice + system + irq + softirq
        hot = self._core_numbers("thermal_throttle/core_throttle_count")
        return CpuTimes(
            total=(busy + idle + iowait + steal) / self._ticks,
            busy=busy / self._ticks,
            steal=steal / self._ticks,
            own=self._family_s(),
            throttled_s=self._throttled_s(),
            too_hot=sum(hot) if hot else None,
        )

    def own_load(self) -> float:
        """Estimates what this process and its children add to the load, if they have worked evenly since it started."""
        fields, up = self._stat(self._pid), self._words("proc/uptime")
        if fields is None or not up:
            return 0.0
        age = max(float(up[0]) - fields[19] / self._ticks, 1e-3)
        return self._family_s() / age * (1 - math.exp(-age / LOAD_S))

    def cpu_limit(self) -> float | None:
        """Returns how many cores' worth of time the control groups allow this process; None: all cores."""
        limits = []
        for group in self._groups():
            words = self._words(f"{group}/cpu.max")  # version 2: "max 100000" or "150000 100000", in microseconds
            if not words:
                quota, period = (self._words(f"{group}/cpu.cfs_{name}_us") for name in ("quota", "period"))
                words = [*quota, *period]
            if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal() and int(words[1]) > 0:
                limits.append(int(words[0]) / int(words[1]))
        return min(limits, default=None)

    def _throttled_s(self) -> float | None:
        """The longest that any of the groups was stopped; version 2 counts microseconds, version 1 nanoseconds."""
        found = []
        for group in self._groups():
            for line in self._text(f"{group}/cpu.stat").splitlines():
                name, _, value = line.partition(" ")
                if name in ("throttled_usec", "throttled_time") and value.isdecimal():
                    found.append(int(value) / (1e6 if name == "throttled_usec" else 1e9))
        return max(found, default=None)

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
        """CPU time of this process and its descendants, in seconds, with those that have ended."""
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
        """The fields of /proc/PID/stat after the name, which may hold blanks and brackets; the state counts as 0."""
        words = self._text(f"proc/{pid}/stat").rpartition(")")[2].split()
        return (0, *(int(word) for word in words[1:20])) if len(words) >= 20 else None

    def _core_numbers(self, name: str) -> list[int]:
        return [int(text) for text in self._cores(name) if text.isdecimal()]

    def _cores(self, name: str) -> list[str]:
        """The contents of a file of each core that has it."""
        folders = sorted((self._root / CPUS).glob("cpu[0-9]*"))
        return list(filter(None, (self._text(f"{CPUS}/{folder.name}/{name}").strip() for folder in folders)))

    def _words(self, path: str) -> list[str]:
        return self._text(path).split()

    def _text(self, path: str) -> str:
        """The contents of a file below the root; empty if it cannot be read."""
        try:
            return (self._root / path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
