"""The measurements of the benchmark itself: they run, and write what they print; no speed is asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.overhead import honesty
from wrn_deploy.bench.measuring.latency import Times
from wrn_deploy.bench.report.report import WarmUp
from wrn_deploy.pipeline.measuring.rounds import RowBuilder
from wrn_deploy.runtime.backend import Candidate, find_runtime, runtimes
from wrn_deploy.spec import Precision

ROOT = Path(__file__).resolve().parents[2]


def test_the_three_ways_are_measured_and_written(made_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "harness.json"
    command = [sys.executable, "-m", "benchmarks.overhead.harness", str(made_bundle), "--rounds", "6", "--calls", "2"]
    ran = subprocess.run([*command, "--out", str(out)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode in (0, 3), ran.stderr
    record = json.loads(out.read_text())
    assert [(row["batch"], row["way"]) for row in record["table"]] == [
        (batch, way) for batch in (1, 8) for way in ("bare", "in process", "worker")
    ]
    assert [[len(times) for times in way] for way in record["rounds_ms"]["8"].values()] == [[2] * 6] * 3
    assert record["table"][0]["added_us"] == 0
    assert 0 < record["empty_section_us"] < 1000
    assert "An empty section takes" in ran.stdout


def test_copies_are_planted_for_a_while_only() -> None:
    before, path = list(runtimes()), os.environ.get("PYTHONPATH")
    with honesty._planted(0.1):
        assert sorted(set(runtimes()) - set(before)) == ["copy", "slowed_copy"]
        listed = "from wrn_deploy.runtime.backend import runtimes; print(*runtimes())"
        printed = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True).stdout
        assert {"copy", "slowed_copy"} <= set(printed.split()), "child processes find them too"
    assert (list(runtimes()), os.environ.get("PYTHONPATH")) == (before, path)


@pytest.mark.parametrize(
    ("kind", "factor", "right"),
    [
        ("copies", 1.0, True),
        ("copies", 1.1, False),
        ("slowed", 1.1, True),
        ("slowed", 1.0, False),
        ("slowed", 0.9, False),
    ],
)
def test_a_run_is_right_or_wrong_by_its_interval(kind: str, factor: float, right: bool) -> None:
    noise = [1.0, 1.01, 0.99, 1.02, 0.98, 1.0, 1.005, 0.995]

    def held(rounds: list[tuple[float, ...]]) -> RowBuilder:
        warmed, times = {1: WarmUp(0.1, 2, steady=True)}, [Times(each) for each in rounds]
        found = Candidate(runtime=find_runtime("onnxruntime"), artifact=None, obstacle=None)
        return RowBuilder(
            backend="onnxruntime", precision=Precision.FP32, found=found, skipped=None, warmed=warmed, rounds={1: times}
        )

    entries = [held([(1.0,)] * 8), held([(factor * one,) for one in noise])]
    assert honesty._found(kind, 1, entries)["right"] is right
