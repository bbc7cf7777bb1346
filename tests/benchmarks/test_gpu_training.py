"""The GPU benchmark of training where there is no GPU: it says so, and a dry run does every part on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wrn_deploy.bundle import Bundle
from wrn_deploy.machine import find_gpu

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(find_gpu() is not None, reason="there is a GPU")


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs it from the checkout with nothing but PYTHONPATH set."""
    command = [sys.executable, "-m", "benchmarks.gpu.training", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)


def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    done = benchmark("--train", "digits", "--test", "digits=digits", "--out", str(tmp_path / "run"))
    assert done.returncode == 4
    assert done.stderr == "no CUDA GPU on this machine: run it on one, or with --dry-run\n"
    assert not (tmp_path / "run").exists()


def test_data_must_be_named(tmp_path: Path) -> None:
    done = benchmark("--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert "--train DATA and --test NAME=DATA are needed" in done.stderr


def test_a_dry_run_does_every_part(tmp_path: Path) -> None:
    done = benchmark("--dry-run", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "train_gpu.json").read_text())
    assert record["run"]["recipe"]["schedule"] == "one-cycle"
    assert record["run"]["sessions"][0]["amp"] == "bf16"
    assert [epoch["epoch"] for epoch in record["epochs"]] == [0, 1]
    assert all(0 < epoch["images_per_s"] < record["roofline_images_per_s"] for epoch in record["epochs"])
    assert all(0 < row["kept"] < row["peak"] for row in record["memory"])
    assert {"onnx-int8-tensorrt", "onnx-int8-onnxruntime"} <= set(Bundle.open(tmp_path / "bundle").artifacts)
    rows = {(row["backend"], row["precision"]): row for row in record["reports"]["digits"]["rows"]}
    int8 = rows["onnxruntime", "int8"]
    assert int8["accuracy"]["images"] == 32
    assert int8["latencies"]
    tables = [done.stdout.rfind(text) for text in ("Memory of a training step", "% of roofline", "digits top-1")]
    assert 0 < tables[0] < tables[1] < tables[2], "the table of the bundle comes last"
