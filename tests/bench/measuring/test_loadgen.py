"""LoadGen's scenarios, with the real LoadGen: valid runs, what is sent to the backend, and runs that do not count."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from wrn_deploy.bench.measuring.loadgen import Load, Scenario, run_scenario
from wrn_deploy.errors import DeployError, MachineError, UsageError
from wrn_deploy.runtime.backend import Backend

pytest.importorskip("mlperf_loadgen")

IMAGES = np.arange(16, dtype=np.float32).reshape(16, 1)
TAKES_S = 0.002  # of each inference


class Answerer:
    """A backend that takes TAKES_S for a batch of any size, and keeps the sizes; from `fails_at` on it fails."""

    infer = Backend.infer

    def __init__(self, batches: range = range(1, 65), fails_at: int | None = None) -> None:
        self.batches, self.sizes, self.fails_at = batches, list[int](), fails_at

    def upload(self, batch: Any) -> None:
        assert set(batch.ravel()) <= set(IMAGES.ravel())
        self.sizes.append(len(batch))

    def execute(self) -> None:
        if self.fails_at is not None and len(self.sizes) >= self.fails_at:
            raise MachineError("the GPU is gone")
        time.sleep(TAKES_S)

    def synchronize(self) -> None:
        pass

    def download(self) -> tuple[Any, ...]:
        return ()


def run(answerer: Answerer, folder: Path, load: Load) -> Any:
    return run_scenario(cast("Backend", answerer), IMAGES, load, folder)


def test_single_stream_asks_for_one_at_a_time(tmp_path: Path) -> None:
    answerer = Answerer()
    found = run(answerer, tmp_path / "logs", Load(scenario=Scenario.SINGLE_STREAM, seconds=0.5))
    assert found.valid, found.reason
    assert set(answerer.sizes) == {1}
    assert found.queries >= 64
    assert found.p50_ms >= TAKES_S * 1000
    assert 0 < found.samples_per_s < 1 / TAKES_S
    assert (found.scenario, found.target_ms, found.reason, found.log) == ("SingleStream", None, None, "logs")
    assert (tmp_path / "logs" / "mlperf_log_summary.txt").is_file()


def test_links_among_the_logs_are_not_followed(tmp_path: Path) -> None:
    victim, logs = tmp_path / "victim", tmp_path / "logs"
    victim.write_text("precious")
    logs.mkdir()
    names = ("summary", "detail", "accuracy")
    for name in names:
        (logs / f"mlperf_log_{name}.{'json' if name == 'accuracy' else 'txt'}").symlink_to(victim)
    run(Answerer(), logs, Load(scenario=Scenario.SINGLE_STREAM, seconds=0.1))
    assert victim.read_text() == "precious"
    assert (logs / "mlperf_log_detail.txt").stat().st_size > 0
    assert not list(logs.glob(".wrn-*"))


def test_offline_fills_batches(tmp_path: Path) -> None:
    answerer = Answerer()
    found = run(answerer, tmp_path, Load(scenario=Scenario.OFFLINE, seconds=0.5, batch=8))
    assert found.valid, found.reason
    assert np.median(answerer.sizes) == 8
    assert max(answerer.sizes) == 8
    assert found.samples_per_s > 2 / TAKES_S, "eight at a time are quicker than one after the other"


def test_a_server_that_keeps_its_target_is_valid_and_one_that_does_not_says_why(tmp_path: Path) -> None:
    kept = run(Answerer(), tmp_path / "kept", Load(scenario=Scenario.SERVER, seconds=0.5, qps=100, target_ms=500))
    assert kept.valid, kept.reason
    assert kept.target_ms == 500
    missed = run(Answerer(), tmp_path / "missed", Load(scenario=Scenario.SERVER, seconds=0.5, qps=400, target_ms=0.5))
    assert not missed.valid
    assert missed.reason
    assert missed.p99_ms > 0.5


def test_multi_stream_sends_eight_together(tmp_path: Path) -> None:
    answerer = Answerer()
    found = run(answerer, tmp_path, Load(scenario=Scenario.MULTI_STREAM, seconds=0.2, batch=8))
    assert found.valid, found.reason
    assert max(answerer.sizes) == 8
    assert found.queries >= 662


def test_a_backend_with_a_minimum_batch_gets_it(tmp_path: Path) -> None:
    answerer = Answerer(range(4, 9))
    assert run(answerer, tmp_path, Load(scenario=Scenario.SINGLE_STREAM, seconds=0.1)).queries >= 64
    assert set(answerer.sizes) == {4}


@pytest.mark.parametrize("fails_at", [1, 30])
def test_an_inference_that_fails_ends_the_run_with_its_words(tmp_path: Path, fails_at: int) -> None:
    """Before the run starts, and in the middle of it: LoadGen must not wait for ever."""
    with pytest.raises(DeployError, match="the GPU is gone"):
        run(Answerer(fails_at=fails_at), tmp_path, Load(scenario=Scenario.SINGLE_STREAM, seconds=0.2))


def test_an_old_log_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    stale = {"key": "result_validity", "value": "VALID"}
    (tmp_path / "mlperf_log_detail.txt").write_text(f":::MLLOG {json.dumps(stale)}\n")
    assert run(Answerer(), tmp_path, Load(scenario=Scenario.SINGLE_STREAM, seconds=0.1)).queries >= 64


CASES: list[Callable[[], Load]] = [
    lambda: Load(scenario=Scenario.SERVER, seconds=0),
    lambda: Load(scenario=Scenario.SERVER, qps=-1),
    lambda: Load(scenario=Scenario.SERVER, target_ms=0),
    lambda: Load(scenario=Scenario.OFFLINE, batch=0),
]


@pytest.mark.parametrize("case", CASES)
def test_numbers_that_make_no_sense_are_usage_errors(case: Callable[[], Load]) -> None:
    with pytest.raises(UsageError, match="expected positive seconds"):
        case()
