"""An interrupted bench: finished rounds are kept, the same command goes on with them, and the report says so."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli
from wrn_deploy.bench.report.report import read_report
from wrn_deploy.pipeline.inference.example import copy_example
from wrn_deploy.pipeline.measuring.sittings import KEPT
from wrn_deploy.progress import Silent
from wrn_deploy.rendering.notes import notes

Start = Callable[..., "subprocess.Popen[str]"]
ROUNDS = 8


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle that two candidates can run; no others, so that it starts fast."""
    monkeypatch.setattr("wrn_deploy.pipeline.measuring.rounds.WARM_UP_S", (0.01, 0.1))
    return copy_example(tmp_path / "example", Silent()).bundle.folder


def options(example: Path, *more: object, rounds: int = ROUNDS) -> list[object]:
    timing = ["--rounds", rounds, "--duration", 0.05 * rounds, "--batches", "1,2"]
    return ["bench", example, "--data", "digits", "--limit", 20, "--backend", "onnxruntime", *timing, *more]


def kept(example: Path) -> Any:
    return json.loads((example / "reports" / KEPT).read_text(encoding="utf-8"))


def rounds_in(record: Any, batch: int) -> int:
    return min((len(row["rounds"].get(str(batch), [])) for row in record["rows"]), default=0)


def interrupt(start: Start, example: Path, how: signal.Signals) -> Any:
    """Starts a bench of many rounds, ends it after the first ones, and returns what it has kept."""
    running = start(*options(example, rounds=400))
    for _ in range(1200):
        if (example / "reports" / KEPT).exists() and rounds_in(kept(example), 1) >= 2:
            break
        assert running.poll() is None, running.communicate()[1]
        time.sleep(0.05)
    running.send_signal(how)
    _, err = running.communicate(timeout=60)
    if how is signal.SIGINT:
        assert running.returncode == 130, err
        assert f"finished rounds are saved in {example}/reports/{KEPT}: run the same command again to continue" in err
    return kept(example)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_the_same_command_goes_on_after_an_interruption(
    cli: Cli, start: Start, example: Path, how: signal.Signals
) -> None:
    first = interrupt(start, example, how)
    done = rounds_in(first, 1)
    outcome = cli(*options(example, "--time-limit", 1, rounds=400))
    assert outcome.code == 0, outcome.err
    assert f"continues after {done} at batch 1 rounds of 1 earlier session" in outcome.err
    report = read_report(example / "reports" / "bench.json")
    assert [sitting.rounds[1] for sitting in report.earlier] == [done]
    assert report.earlier[0].environment.before is not None
    for row in report.rows:
        if row.skipped is None:
            before = next(each["rounds"]["1"] for each in first["rows"] if each["name"] == row.name)
            taken = [list(times) for times in row.latencies[0].rounds_ms]
            assert taken[:done] == [times["host_ms"] for times in before[:done]]
            assert len(taken) > done
    assert any("Measured in 2 sessions" in note for note in notes(report))
    assert "Measured in 2 sessions" in (example / "reports" / "bench.html").read_text(encoding="utf-8")
    assert len(kept(example)["sittings"]) == 2  # the time limit has left rounds out


def test_a_time_limit_leaves_rounds_for_the_next_sitting(cli: Cli, example: Path) -> None:
    assert cli(*options(example, "--time-limit", 1, rounds=60)).code == 0
    first = read_report(example / "reports" / "bench.json")
    assert first.settings.rounds < 60
    assert cli(*options(example, rounds=60)).code == 0
    second = read_report(example / "reports" / "bench.json")
    assert second.settings.rounds == 60
    assert all(len(latency.rounds_ms) == 60 for row in second.rows for latency in row.latencies)
    assert len(second.earlier) == 1
    assert not (example / "reports" / KEPT).exists()


def test_a_finished_bench_keeps_nothing(cli: Cli, example: Path) -> None:
    assert cli(*options(example)).code == 0
    assert not (example / "reports" / KEPT).exists()
    assert read_report(example / "reports" / "bench.json").earlier == ()


def test_rounds_of_something_else_are_refused_or_discarded(cli: Cli, example: Path) -> None:
    assert cli(*options(example, "--time-limit", 1, rounds=60)).code == 0
    before = kept(example)
    outcome = cli(*options(example, rounds=ROUNDS))
    assert outcome.code == 2
    assert f"{KEPT} contains rounds of a different interrupted bench (rounds 60, now {ROUNDS}; " in outcome.err
    assert "pass --restart to discard its rounds" in outcome.err
    assert kept(example) == before
    assert cli(*options(example, "--restart", rounds=ROUNDS)).code == 0
    assert read_report(example / "reports" / "bench.json").earlier == ()
    assert not (example / "reports" / KEPT).exists()


def test_a_changed_artifact_is_named(cli: Cli, example: Path) -> None:
    assert cli(*options(example, "--time-limit", 1, rounds=60)).code == 0
    record = kept(example)
    record["asked"]["int8-onnxruntime.onnx"] = "0" * 12
    (example / "reports" / KEPT).write_text(json.dumps(record), encoding="utf-8")
    outcome = cli(*options(example, rounds=60))
    assert outcome.code == 2
    assert "(int8-onnxruntime.onnx 000000000000, now " in outcome.err


def test_a_damaged_file_of_rounds_is_refused(cli: Cli, example: Path) -> None:
    (example / "reports").mkdir()
    (example / "reports" / KEPT).write_text("{", encoding="utf-8")
    outcome = cli(*options(example))
    assert outcome.code == 1
    assert "or pass --restart to measure everything again" in outcome.err
    assert cli(*options(example, "--restart")).code == 0
