"""The one clock: what is inside of the timed section, what is not, and what is counted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from wrn_deploy.backend import Backend
from wrn_deploy.bench import latency
from wrn_deploy.bench.latency import measure_latency, warm_up

IMAGES = np.zeros((2, 3, 4, 4), dtype=np.float32)
COSTS_NS = {"upload": 70_000_000, "execute": 1_000_000, "synchronize": 2_500_000, "download": 90_000_000}


class Recorder:
    """A backend whose calls take a known time on a clock that nothing else moves."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.now_ns = 0
        self.costs = dict(COSTS_NS)

    def __getattr__(self, name: str) -> Any:
        def call(*_arguments: object) -> None:
            self.calls.append(name)
            self.now_ns += self.costs[name]

        return call


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    clock = SimpleNamespace(perf_counter_ns=lambda: made.now_ns, perf_counter=lambda: made.now_ns / 1e9)
    monkeypatch.setattr(latency, "time", clock)
    return made


def test_a_sample_is_the_inference_until_it_is_done_and_nothing_else(recorder: Recorder) -> None:
    assert measure_latency(cast("Backend", recorder), IMAGES, 3) == [3.5, 3.5, 3.5]


def test_images_are_uploaded_once_and_one_run_is_not_counted(recorder: Recorder) -> None:
    measure_latency(cast("Backend", recorder), IMAGES, 3)
    assert recorder.calls == ["upload", *["execute", "synchronize"] * 4]


def test_each_run_is_a_sample_of_its_own(recorder: Recorder) -> None:
    run = recorder.__getattr__("execute")

    def slower_and_slower() -> None:
        recorder.costs["execute"] += 1_000_000
        run()

    recorder.execute = slower_and_slower  # type: ignore[attr-defined]
    assert measure_latency(cast("Backend", recorder), IMAGES, 3) == [5.5, 6.5, 7.5]


@pytest.mark.parametrize(("seconds", "runs"), [(0.0, 2), (0.0035, 2), (0.0175, 5), (0.0176, 6)])
def test_warming_up_lasts_as_long_as_was_asked_and_two_runs_at_least(
    recorder: Recorder, seconds: float, runs: int
) -> None:
    recorder.costs["upload"] = 10**12
    assert warm_up(cast("Backend", recorder), IMAGES, seconds) == 3.5
    assert recorder.calls == ["upload", *["execute", "synchronize"] * runs]
