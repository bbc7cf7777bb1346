"""The GPU benchmark where there is no GPU: it says so, and everything else of it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.machine import find_gpu

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(find_gpu() is not None, reason="there is a GPU")


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs it from the checkout with nothing but PYTHONPATH set."""
    command = [sys.executable, "-m", "benchmarks.gpu.inference", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)


def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    done = benchmark("--out", str(tmp_path / "gpu.json"))
    assert done.returncode == 4
    assert done.stderr == "no CUDA GPU on this machine: run it on one, or with --dry-run\n"
    assert not (tmp_path / "gpu.json").exists()


def test_a_dry_run_does_the_rest(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    few = ("--candidates", "eager", "TensorRT", "--precisions", "fp16", "--batches", "2", "--rounds", "1")
    done = benchmark("--dry-run", "--out", str(out), *few)
    assert done.returncode == 0, done.stderr
    record = json.loads(out.read_text())
    assert [tried["target"] for tried in record["targets"]] == ["none", "SM80", "CURRENT"]
    if Flavor.RTX in installed_flavors():
        assert [tried["built"] for tried in record["targets"]] == [True, True, False]
        assert "no CUDA GPU on this machine" in record["targets"][0]["error"]
        assert "CURRENT needs a GPU" in record["targets"][2]["error"]
        assert record["builds"] == []
    eager, *plans = record["rows"]
    assert (eager["candidate"], eager["batch"], eager["error"]) == ("PyTorch eager", 2, "")
    assert eager["cosine"] > 0.99
    assert len(eager["host_ms"]) >= 3
    assert 0 < eager["roofline_ms"] < min(eager["host_ms"])
    assert len(plans) == 4
    assert all(row["error"] and not row["host_ms"] for row in plans)
    assert "images/s" in done.stdout
    assert done.stdout.rstrip().endswith("% of it by the best time"), "the table comes last"
