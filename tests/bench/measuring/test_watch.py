"""The watch looks now and then, never more often than it should, and says what others did meanwhile."""

from __future__ import annotations

import dataclasses
import itertools
from typing import cast

import pytest

from wrn_deploy.bench.measuring.gpu import GpuReader
from wrn_deploy.bench.measuring.linux import CpuTimes, Linux
from wrn_deploy.bench.measuring.watch import MAX_SNAPSHOTS, MachineWatch
from wrn_deploy.bench.report.environment import Snapshot


class FakeLinux:
    """A machine with two cores; the clock moves when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0
        self.counters = CpuTimes(total=1000.0, busy=500.0, steal=10.0, own=50.0, throttled_s=1.0, too_hot=3)
        self.looks = 0

    def clock(self) -> float:
        return self.now

    def state(self) -> Snapshot:
        self.looks += 1
        return Snapshot(load_1min=1.5, governor="performance", cpu_mhz=3000.0 + self.looks, cpu_max_mhz=3800.0)

    def times(self) -> CpuTimes | None:
        return self.counters

    def own_load(self) -> float:
        return 0.4

    def cpu_limit(self) -> float | None:
        return 1.5


class FakeGpu:
    used_j, closed = 100.0, False

    def read(self, snapshot: Snapshot) -> Snapshot:
        return dataclasses.replace(snapshot, gpu_mhz=1980.0, power_w=100.0, throttle_reasons=())

    def energy_j(self) -> float | None:
        return self.used_j

    def close(self) -> None:
        self.closed = True


def begin(linux: FakeLinux, gpu: FakeGpu | None = None) -> MachineWatch:
    return MachineWatch(cast("Linux", linux), cast("GpuReader | None", gpu), linux.clock)


def test_the_conditions_are_differences_over_the_watch() -> None:
    linux, gpu = FakeLinux(), FakeGpu()
    watch = begin(linux, gpu)
    linux.now += 10.0
    linux.counters = CpuTimes(total=1020.0, busy=515.0, steal=11.0, own=59.0, throttled_s=1.25, too_hot=5)
    gpu.used_j = 350.0
    around = watch.end(2, "abc1234-dirty")
    assert (around.energy_j, around.git_revision, around.cpu_limit) == (250.0, "abc1234-dirty", 1.5)
    assert around.others_cores == 0.6, "15 s busy, 9 of them its own, in 10 s"
    assert (around.steal, around.held_s, around.cpu_throttles) == (0.05, 0.25, 2)
    assert around.others_before == 1.1
    assert (around.before.at_s, around.after.at_s) == (0.0, 10.0)
    assert (around.before.gpu_mhz, around.before.power_w, around.before.throttle_reasons) == (1980.0, 100.0, ())
    assert (around.after.governor, around.after.cpu_max_mhz) == ("performance", 3800.0)
    assert len(around.warnings) == 6, around.warnings
    assert gpu.closed


def test_what_others_take_is_told_by_batch_size() -> None:
    linux = FakeLinux()
    watch = begin(linux)
    with watch.timing(1):
        linux.counters = dataclasses.replace(linux.counters, total=1020.0, busy=515.0, own=59.0, steal=11.0)
    with watch.timing(8):
        linux.counters = dataclasses.replace(linux.counters, total=1040.0, busy=535.0, own=79.0)
    linux.now += 20.0
    assert watch.end(2, None).taken == {1: 0.35, 8: 0.0}, "of 20 s of both cores, others took 6, the hypervisor 1"


def test_without_counters_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    linux = FakeLinux()
    monkeypatch.setattr(linux, "times", lambda: None)
    watch = begin(linux)
    with watch.timing(1):
        linux.now += 1.0
    assert watch.end(2, None).taken == {}


def test_it_looks_every_five_seconds_however_often_it_is_asked() -> None:
    linux = FakeLinux()
    watch = begin(linux)
    for _ in range(120):
        linux.now += 0.25
        watch.look()
    assert [state.at_s for state in watch.end(2, None).during] == [5.0, 10.0, 15.0, 20.0, 25.0, 30.0]


def test_a_long_watch_keeps_few_snapshots_from_all_of_it() -> None:
    linux = FakeLinux()
    watch = begin(linux)
    for _ in range(1440):  # two hours
        linux.now += 5.0
        watch.look()
    times = [state.at_s or 0.0 for state in watch.end(2, None).during]
    assert MAX_SNAPSHOTS // 4 <= len(times) < MAX_SNAPSHOTS
    steps = {round(after - before) for before, after in itertools.pairwise(times)}
    assert len(steps) == 1, "at even distances"
    assert times[-1] > 7000


def test_without_counters_and_gpu_the_rest_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    linux = FakeLinux()
    monkeypatch.setattr(linux, "times", lambda: None)
    watch = begin(linux)
    linux.now += 1.0
    around = watch.end(2, None)
    assert (around.others_cores, around.steal, around.energy_j, around.before.gpu_mhz) == (None, None, None, None)
    assert around.before.load_1min == 1.5
