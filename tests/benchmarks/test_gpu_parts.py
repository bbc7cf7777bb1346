"""Parts of the GPU report in processes of their own: each ending is an outcome, and what was found before counts."""

from __future__ import annotations

import importlib
import json
import os
import signal
import time
from pathlib import Path

import pytest

from benchmarks.gpu.outcome import Outcome, State, Verdict, file_of, read_outcome
from benchmarks.gpu.parts import TOTAL_S, Part, list_parts
from benchmarks.gpu.supervise import Setup, run_part
from benchmarks.gpu.task import OutOfTime, Skip, Task
from wrn_deploy.errors import MachineError

NETWORKS = ("wrn-50-2", "wrn-101-2", "wrn-28-10")


def succeed(task: Task, network: str) -> None:
    task.found(f"{network} is right", right=True)
    task.table("A table.", ("a", "b"), [("1", "2")])
    task.keep("numbers", [1.5])


def skip(task: Task) -> None:
    task.note("working")
    raise Skip("no such library")


def stop_early(task: Task) -> None:
    task.found("half of it")
    raise OutOfTime("the other half")


def refuse(task: Task) -> None:
    task.note("working")
    raise MachineError("no memory: free some")


def stumble(task: Task) -> None:
    task.note("working")
    raise ZeroDivisionError("by zero")


def crash(task: Task) -> None:
    task.found("before")
    os.kill(os.getpid(), signal.SIGABRT)


def leave(task: Task) -> None:
    task.note("leaving")
    os._exit(7)


def hang(task: Task) -> None:
    task.found("before")
    task.note("hanging")
    time.sleep(60)


def hang_at_once(_task: Task) -> None:
    time.sleep(60)


def run(function: str, out: Path, *, network: str | None = None, seconds: float = 20.0) -> tuple[Outcome, list[str]]:
    part = Part(name="part", title="A part", limit_s=seconds, run=f"{__name__}:{function}", network=network)
    setup = Setup(out=out, networks=("wrn-16-1",), batches=(1, 4), machine={"gpu": "a GPU"})
    said: list[str] = []
    outcome = run_part(part, setup, seconds=seconds, say=said.append)
    assert read_outcome(file_of(out, "part")) == outcome
    assert outcome.settings == {"network": network or "wrn-16-1", "batches": [1, 4], "gpu": "a GPU"}
    return outcome, said


def test_a_part_that_ends_well(tmp_path: Path) -> None:
    outcome, _ = run("succeed", tmp_path, network="wrn-16-1")
    assert (outcome.state, outcome.reason, outcome.finished) == (State.RAN, "", True)
    assert [(finding.text, finding.verdict) for finding in outcome.findings] == [("wrn-16-1 is right", Verdict.RIGHT)]
    assert outcome.tables[0].rows == (("1", "2"),)
    assert outcome.raw == {"numbers": [1.5]}
    assert outcome.seconds > 0


@pytest.mark.parametrize(
    ("function", "state", "reason", "found"),
    [
        ("skip", State.SKIPPED, "no such library", []),
        ("stop_early", State.SHORTENED, "the other half", ["half of it"]),
        ("refuse", State.FAILED, "no memory: free some", []),
        ("stumble", State.FAILED, "ZeroDivisionError: by zero", []),
        ("crash", State.FAILED, "its process died (SIGABRT): before", ["before"]),
        ("leave", State.FAILED, "its process died (exit code 7): leaving", []),
    ],
)
def test_other_endings(function: str, state: State, reason: str, found: list[str], *, tmp_path: Path) -> None:
    outcome, _ = run(function, tmp_path)
    assert (outcome.state, outcome.reason) == (state, reason)
    assert [finding.text for finding in outcome.findings] == found


@pytest.mark.parametrize("function", ["hang", "hang_at_once"])
def test_a_part_that_hangs_is_stopped(function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it found by then counts; it runs again with the next call; and the command is never silent for long."""
    monkeypatch.setattr("benchmarks.gpu.supervise.GRACE_S", 0.5)
    monkeypatch.setattr("benchmarks.gpu.supervise.SPEAK_S", 0.5)
    start = time.monotonic()
    outcome, said = run(function, tmp_path, seconds=4.0)
    assert time.monotonic() - start < 15
    last = "hanging" if function == "hang" else "nothing printed yet"
    assert (outcome.state, outcome.reason) == (State.SHORTENED, f"stopped after 4 s, when its time was up, at: {last}")
    assert said[-1] == last
    assert len(said) > 3


def test_the_parts_are_in_their_order_and_can_be_run() -> None:
    parts = list_parts(NETWORKS)
    assert [part.name for part in parts] == [
        "doctor", "gpu-tests", "driver", "plan-tests", "bundle-wrn-50-2", "graphs", "tensorrt", "rtx", "onnxruntime",
        "exit", "bench-wrn-50-2", "bundle-wrn-101-2", "bench-wrn-101-2", "bundle-wrn-28-10", "bench-wrn-28-10", "peers",
    ]  # fmt: skip
    for part in parts:
        module, function = part.run.split(":")
        assert callable(getattr(importlib.import_module(module), function))
    assert max(part.limit_s for part in parts) < TOTAL_S / 3


def test_a_damaged_outcome_is_none(tmp_path: Path) -> None:
    file = file_of(tmp_path, "part")
    file.parent.mkdir()
    for text in ("", "{", json.dumps({"part": "part"}), json.dumps({"part": "part", "state": "unheard of"})):
        file.write_text(text)
        assert read_outcome(file) is None
    assert read_outcome(tmp_path / "none.json") is None
