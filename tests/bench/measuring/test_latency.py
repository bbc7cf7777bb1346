"""The one clock: what is counted, and when a candidate is warm."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from wrn_deploy.bench.measuring import latency
from wrn_deploy.bench.measuring.latency import Times, measure_latency, warm_up


class Section:
    """Takes the given times, in ms, one after the other and then the last again, on a clock that nothing else moves."""

    def __init__(self, *times_ms: float) -> None:
        self.times_ms, self.runs, self.now_ns = times_ms, 0, 0

    def __call__(self) -> None:
        self.now_ns += round(self.times_ms[min(self.runs, len(self.times_ms) - 1)] * 1e6)
        self.runs += 1


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> type[Section]:
    current: list[Section] = []

    class Timed(Section):
        def __init__(self, *times_ms: float) -> None:
            super().__init__(*times_ms)
            current[:] = [self]

    clock = SimpleNamespace(perf_counter_ns=lambda: current[0].now_ns, perf_counter=lambda: current[0].now_ns / 1e9)
    monkeypatch.setattr(latency, "time", clock)
    return Timed


def test_each_run_is_a_sample_and_the_first_is_not_counted(timed: type[Section]) -> None:
    section = timed(100.0, 3.5, 4.5, 5.5)
    assert measure_latency(section, 3) == Times((3.5, 4.5, 5.5))
    assert section.runs == 4


def test_warming_up_ends_when_times_are_level(timed: type[Section]) -> None:
    section = timed(*(1000.0 / 2**index for index in range(10)), 1.0)
    went, run_ms = warm_up(section, 0.0, 60.0)
    assert went.steady
    assert went.runs == section.runs
    assert run_ms == 1.0
    assert 15 <= went.runs <= 20, "two windows of 5 after the 10 that get faster, or a few more"


def test_warming_up_lasts_its_minimum_time(timed: type[Section]) -> None:
    went, _ = warm_up(timed(1.0), 0.5, 60.0)
    assert went.steady
    assert went.seconds == pytest.approx(0.5)
    assert went.runs == 500


def test_times_that_never_settle_are_reported(timed: type[Section]) -> None:
    went, _ = warm_up(timed(*(1.1**index for index in range(80))), 0.0, 2.0)
    assert not went.steady
    assert went.seconds >= 2.0


@pytest.mark.parametrize(
    ("times_ms", "runs", "steady"),
    [((9000.0, 2000.0), 6, True), ((2000.0, 2000.0, 1600.0, 1500.0, 1300.0, 1100.0), 9, False), ((6000.0,), 3, True)],
)
def test_long_runs_are_judged_by_those_there_are(
    timed: type[Section], times_ms: tuple[float, ...], runs: int, steady: bool
) -> None:
    """A network that takes 2 s has five runs in ten seconds, which are not enough for two windows of five."""
    went, _ = warm_up(timed(*times_ms), 0.5, 10.0)
    assert (went.runs, went.steady) == (runs, steady)


def test_a_first_run_that_compiles_takes_nothing_from_the_time_to_settle(timed: type[Section]) -> None:
    section = timed(30_000.0, *(400.0,) * 20)
    went, run_ms = warm_up(section, 0.5, 10.0)
    assert went.steady
    assert run_ms == 400.0
    assert went.seconds == pytest.approx(30.0 + 0.4 * (went.runs - 1))


def test_the_devices_time_is_kept_beside_each_run(timed: type[Section]) -> None:
    section = timed(100.0, 3.5, 4.5)
    answers: list[float | None] = [None, 1.25, 2.5]
    asked = iter(answers)
    times = measure_latency(section, 2, lambda: next(asked))
    assert times == Times((3.5, 4.5), (1.25, 2.5))
    assert section.runs == 3
    assert list(asked) == [], "once before, which starts the clock, and once behind each run"


def test_a_device_without_a_clock_has_no_times(timed: type[Section]) -> None:
    assert measure_latency(timed(1.0), 3, lambda: None) == Times((1.0,) * 3)


def test_a_slow_candidate_is_run_twice_at_least(timed: type[Section]) -> None:
    section = timed(20_000.0)
    went, run_ms = warm_up(section, 0.5, 10.0)
    assert (went.runs, run_ms) == (2, 20_000.0)
    assert not went.steady
