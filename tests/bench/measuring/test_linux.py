"""The CPU's state is read correctly: from made trees, and from this machine's own files."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wrn_deploy.bench.measuring.linux import Linux

TICK = os.sysconf("SC_CLK_TCK")
PID = 40


def make_tree(root: Path, files: dict[str, str]) -> Linux:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Linux(root, PID, cores={0, 1})


def process(pid: int, parent: int, times: tuple[int, int, int, int], began: int = 0, name: str = "python") -> str:
    """A line of /proc/PID/stat, times in ticks."""
    words = [str(pid), f"({name})", "S", str(parent), *["0"] * 9, *map(str, times), *["0"] * 4, str(began), "0", "0"]
    return " ".join(words)


def test_missing_files_give_none(tmp_path: Path) -> None:
    linux = Linux(tmp_path, PID)
    state = linux.state()
    assert (state.load_1min, state.governor, state.cpu_mhz, state.cpu_max_mhz) == (None, None, None, None)
    assert linux.times() is None
    assert linux.cpu_limit() is None
    assert linux.own_load() == 0.0


def test_the_highest_clock_and_every_governor_are_read(tmp_path: Path) -> None:
    cpu = "sys/devices/system/cpu/cpu{}/cpufreq/{}"
    linux = make_tree(tmp_path, {
        "proc/loadavg": "0.52 0.40 0.30 2/100 4242",
        "proc/cpuinfo": "model name : X\ncpu MHz\t\t: 999.0\n",
        cpu.format(0, "scaling_governor"): "powersave\n", cpu.format(1, "scaling_governor"): "performance\n",
        cpu.format(0, "scaling_cur_freq"): "1200000\n", cpu.format(1, "scaling_cur_freq"): "3400500\n",
        cpu.format(0, "scaling_max_freq"): "3800000\n", cpu.format(1, "scaling_max_freq"): "3800000\n",
    })  # fmt: skip
    state = linux.state()
    assert (state.load_1min, state.governor) == (0.52, "performance, powersave")
    assert (state.cpu_mhz, state.cpu_max_mhz) == (3400.5, 3800.0)


def test_a_virtual_machine_reports_its_clock_alone(tmp_path: Path) -> None:
    linux = make_tree(tmp_path, {"proc/cpuinfo": "cpu MHz\t\t: 2596.098\nflags : a\ncpu MHz\t\t: 2100.0\n"})
    assert (linux.state().cpu_mhz, linux.state().cpu_max_mhz, linux.state().governor) == (2596.1, None, None)


def test_times_are_split_into_busy_stolen_and_own(tmp_path: Path) -> None:
    second = TICK
    stat = [10 * second, second, 4 * second, 80 * second, 3 * second, second, second, 5 * second, 2 * second, 0]
    cores = "cpu8 1 1\ncpu9 1 1\n"
    hot = "sys/devices/system/cpu/cpu{}/thermal_throttle/core_throttle_count"
    linux = make_tree(tmp_path, {
        "proc/stat": f"cpu  {' '.join(map(str, stat))}\n{cores}intr 5 5\n",  # cores 8 and 9 are not its own
        f"proc/{PID}/stat": process(PID, 1, (second, second, second, 0), name="a (b) c"),
        "proc/41/stat": process(41, PID, (2 * second, 0, 0, 0)),
        "proc/42/stat": process(42, 41, (0, second, 0, second)),
        "proc/43/stat": process(43, 1, (70 * second, 0, 0, 0)),
        "proc/44/stat": "44 (gone",
        hot.format(0): "3\n", hot.format(1): "4\n",
    })  # fmt: skip
    times = linux.times()
    assert times is not None
    assert (times.busy, times.steal, times.total) == (17.0, 5.0, 105.0)
    assert times.own == 7.0, "three of its own and of a dead child, two of a child, two of a grandchild"
    assert (times.too_hot, times.throttled_s) == (7, None)


def test_the_own_load_fades_as_the_average_does(tmp_path: Path) -> None:
    """Half a core for 30 s, begun 100 s after the machine: the average of one minute has taken in 1 - exp(-30/60)."""
    files = {"proc/uptime": "130.0 99.0", f"proc/{PID}/stat": process(PID, 1, (15 * TICK, 0, 0, 0), began=100 * TICK)}
    assert make_tree(tmp_path, files).own_load() == pytest.approx(0.5 * (1 - math.exp(-0.5)))


@pytest.mark.parametrize(
    ("group", "files", "limit", "throttled_s"),
    [
        ("0::/a/b", {"a/b/cpu.max": "max 100000"}, None, None),
        ("0::/a/b", {"a/b/cpu.max": "150000 100000", "a/b/cpu.stat": "usage_usec 5\nthrottled_usec 250000"}, 1.5, 0.25),
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000"}, 0.5, None),
        ("0::/", {"cpu.max": "300000 100000"}, 3.0, None),
        ("0::/../elsewhere", {"cpu.max": "300000 100000"}, 3.0, None),
        (
            "2:cpu,cpuacct:/d\n0::/",
            {
                "cpu,cpuacct/d/cpu.cfs_quota_us": "200000", "cpu,cpuacct/d/cpu.cfs_period_us": "100000",
                "cpu,cpuacct/d/cpu.stat": "nr_periods 1\nthrottled_time 3000000000",
            },
            2.0, 3.0,
        ),
        ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None, None),
        ("3:cpuset:/d", {"cpuset/d/cpu.max": "1 100000"}, None, None),
    ],
)  # fmt: skip
def test_limits_of_control_groups_are_found(
    tmp_path: Path, group: str, files: dict[str, str], limit: float | None, throttled_s: float | None
) -> None:
    named = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    linux = make_tree(tmp_path, {f"proc/{PID}/cgroup": f"{group}\n", "proc/stat": "cpu  1 1 1 1\n", **named})
    times = linux.times()
    assert times is not None
    assert (linux.cpu_limit(), times.throttled_s) == (limit, throttled_s)


def test_only_the_cores_that_it_may_run_on_count(tmp_path: Path) -> None:
    """On a shared machine others keep cores busy that this process cannot have."""
    own, others = f"{TICK} 0 0 {9 * TICK} 0 0 0 0", f"{99 * TICK} 0 0 0 0 0 0 {TICK}"
    lines = ["cpu  1 1 1 1", f"cpu0 {own}", f"cpu1 {own}", *(f"cpu{core} {others}" for core in range(2, 12))]
    times = make_tree(tmp_path, {"proc/stat": "\n".join(lines)}).times()
    assert times is not None
    assert (times.busy, times.steal, times.total) == (2.0, 0.0, 20.0)


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="Linux alone has /proc")
def test_this_machine_s_own_files_are_read() -> None:
    linux = Linux()
    first, began = linux.times(), time.monotonic()
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        end = time.process_time() + 0.3
        while time.process_time() < end:
            pass
        last, seconds = linux.times(), time.monotonic() - began
    finally:
        busy.kill()
        busy.wait()
    assert first is not None
    assert last is not None
    cores = os.cpu_count() or 1
    assert last.own - first.own >= 0.25, "its own, and that of a child that still runs"
    assert last.own - first.own <= cores * seconds + 0.1
    assert last.total - first.total == pytest.approx(cores * seconds, rel=0.3, abs=0.2)
    state = linux.state()
    assert state.load_1min is not None
    assert state.cpu_mhz is None or 100 < state.cpu_mhz < 10_000
    assert linux.own_load() > 0
    assert linux.cpu_limit() is None or linux.cpu_limit() > 0  # type: ignore[operator]
