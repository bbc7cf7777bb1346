"""The GPU report without a GPU: it says so; what it keeps, skips and runs again; its page and record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import report
from benchmarks.gpu.outcome import Finding, Grid, Outcome, State, Verdict, file_of, write_outcome
from benchmarks.gpu.parts import Part, list_parts
from benchmarks.gpu.supervise import Setup
from wrn_deploy.machine import Gpu, Machine, find_gpu

ROOT = Path(__file__).resolve().parents[2]
GPU = Gpu("NVIDIA H200 <b>", "9.0", 143771, "580.95.05")
MACHINE = Machine(system="Linux", cpu="a CPU", cores=16, memory_mib=131072, python="3.11.7", gpu=GPU, load_1min=0.0)


@pytest.mark.skipif(find_gpu() is not None, reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    out = tmp_path / "report"
    command = [sys.executable, "-m", "benchmarks.gpu.report", "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert done.returncode == 4
    assert done.stderr == "no CUDA GPU on this machine: run it on one\n"
    assert not out.exists()


class Runs:
    """In the place of `run_part`: counts the calls; a part fails if its name is in `failing`."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.seconds: dict[str, float] = {}
        self.failing: set[str] = set()

    def __call__(self, part: Part, setup: Setup, *, seconds: float, say: Callable[[str], None]) -> Outcome:
        say("running")
        self.names.append(part.name)
        self.seconds[part.name] = seconds
        state = State.FAILED if part.name in self.failing else State.RAN
        state = State.SHORTENED if part.name == "rtx" else state
        outcome = Outcome(part=part.name, state=state, seconds=1.0, settings=setup.settings(part), reason="<i>why</i>")
        outcome.findings.append(Finding("it is <wrong>", Verdict.WRONG))
        outcome.tables.append(Grid(about="About.", headers=("a", "b"), rows=(("x", "1"), ("x", "2"), ("y", "text"))))
        write_outcome(file_of(setup.out, part.name), outcome)
        return outcome


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    found = Runs()
    monkeypatch.setattr(report, "run_part", found)
    monkeypatch.setattr(report, "find_gpu", lambda: GPU)
    monkeypatch.setattr(report, "require_gpu", lambda: None)
    monkeypatch.setattr("benchmarks.output.describe_machine", lambda: MACHINE)
    return found


def call(monkeypatch: pytest.MonkeyPatch, out: Path, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["report", "--out", str(out), "--networks", "wrn-16-1", *arguments])
    try:
        report.main()
    except SystemExit as left:
        return int(left.code or 0)
    return 0


NAMES = [part.name for part in list_parts(["wrn-16-1"])]


def test_a_second_call_runs_what_is_not_done(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.failing = {"graphs"}
    assert call(monkeypatch, tmp_path) == 1
    assert runs.names == NAMES
    runs.names.clear()
    assert call(monkeypatch, tmp_path) == 1
    assert runs.names == ["rtx"], "it was shortened; what failed came to its end"
    runs.failing.clear()
    runs.names.clear()
    assert call(monkeypatch, tmp_path, "--again", "failed", "exit") == 0
    assert runs.names == ["graphs", "rtx", "exit"]
    runs.names.clear()
    assert call(monkeypatch, tmp_path, "--batches", "2", "--only", "driver", "exit") == 0
    assert runs.names == ["driver", "exit"], "other settings"


def test_another_gpu_starts_anew(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call(monkeypatch, tmp_path, "--only", "driver")
    monkeypatch.setattr(report, "find_gpu", lambda: Gpu("NVIDIA L4", "8.9", 23034, "580.95.05"))
    call(monkeypatch, tmp_path, "--only", "driver")
    assert runs.names == ["driver", "driver"]


def test_when_time_runs_out_the_rest_is_skipped(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10**6, 40))  # each look at the clock takes 40 s

    class Time:
        monotonic = staticmethod(lambda: float(next(clock)))

    monkeypatch.setattr(report, "time", Time)
    assert call(monkeypatch, tmp_path) == 0
    assert 0 < len(runs.names) < len(NAMES)
    assert runs.names == NAMES[: len(runs.names)], "the most important first"
    states = [json.loads(file_of(tmp_path, name).read_text())["state"] for name in NAMES]
    assert set(states[len(runs.names) :]) == {"skipped"}
    last = json.loads(file_of(tmp_path, NAMES[-1]).read_text())
    assert last["reason"] == "no time was left: call again with the same --out, which keeps what is done"


def test_limits_follow_the_total(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call(monkeypatch, tmp_path, "--minutes", "6")
    limits = {part.name: part.limit_s for part in list_parts(["wrn-16-1"])}
    assert all(seconds <= limits[name] / 2 for name, seconds in runs.seconds.items())


@pytest.mark.usefixtures("runs")
def test_the_page_and_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "is_stand_in", lambda: True)
    call(monkeypatch, tmp_path, "--only", "driver", "exit")
    page = (tmp_path / "report.html").read_text()
    assert "stand-in driver: not a GPU" in page
    assert "NVIDIA H200 &lt;b&gt;" in page
    assert "it is &lt;wrong&gt;" in page
    assert "<i>" not in page
    assert "<b>Driver and imports:</b>" in page, "what is wrong stands at the top"
    assert '<th scope="row" rowspan="2">x</th>' in page
    assert "2 parts ran; 10 parts to come" in page
    assert "default-src 'none'" in page
    record: dict[str, Any] = json.loads((tmp_path / "gpu-stand-in.json").read_text())
    assert record["stand_in"] == "stand-in driver: not a GPU"
    assert record["machine"]["gpu"]["driver"] == "580.95.05"
    assert [part["part"] for part in record["parts"]] == ["driver", "exit"]
    assert {"git_revision", "versions"} <= record.keys()


@pytest.mark.usefixtures("runs")
def test_a_real_driver_s_record_has_the_gpu_s_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "is_stand_in", lambda: False)
    call(monkeypatch, tmp_path, "--only", "driver")
    assert json.loads((tmp_path / "gpu-nvidia-h200-b.json").read_text())["stand_in"] is None
    assert "stand-in" not in (tmp_path / "report.html").read_text().split("</style>")[1]


def test_a_page_that_cannot_be_written_ends_nothing(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise ValueError("no page")

    monkeypatch.setattr(report, "write_page", fail)
    assert call(monkeypatch, tmp_path, "--only", "driver", "exit") == 0
    assert runs.names == ["driver", "exit"]


def test_ctrl_c_says_how_to_go_on(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(part: Part, setup: Setup, *, seconds: float, say: Callable[[str], None]) -> Outcome:
        if part.name == "driver":
            raise KeyboardInterrupt
        return runs(part, setup, seconds=seconds, say=say)

    monkeypatch.setattr(report, "run_part", interrupted)
    assert call(monkeypatch, tmp_path) == 130
    assert runs.names == ["doctor", "gpu-tests"]
    assert "2 parts ran; 10 parts to come" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    "wrong", [("--again", "nothing"), ("--batches", "0"), ("--minutes", "0"), ("--only", "bench-x")]
)
def test_wrong_arguments(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: tuple[str, str]) -> None:
    assert call(monkeypatch, tmp_path, *wrong) == 2
    assert runs.names == []
