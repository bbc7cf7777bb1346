"""The command line on the stand-in: a plan is built and measured, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = "from wrn_deploy.cli import main; main()"


def run(*arguments: str | Path, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that was exported with random weights, and its fp16 plan with two profiles."""
    folder = tmp_path_factory.mktemp("commands") / "bundle"
    run("export", "wrn-10-1", "--random-weights", "--out", folder)
    run("build-engine", folder, "--fp16", "--flavor", "tensorrt", "--profile", "1:1:1", "--profile", "2:8:16")
    return folder


def test_a_plan_is_built_for_the_stand_ins_gpu(built: Path) -> None:
    facts = json.loads((built / "manifest.json").read_text())["artifacts"]["plan-fp16-tensorrt"]["facts"]
    assert (facts["gpu"], facts["compute_capability"], facts["version"]) == ("NVIDIA H200", "9.0", "11.4.0.106")
    assert "up to date" in run(
        "build-engine", built, "--fp16", "--flavor", "tensorrt", "--profile", "1:1:1", "--profile", "2:8:16"
    )


def test_the_plan_runs_on_every_image_of_a_data_set(built: Path) -> None:
    """The stand-in's engine does not compute the network, so that its accuracy says nothing."""
    text = run("eval", built, "--data", "digits", "--limit", "40", "--backend", "tensorrt")
    assert "fp16" in text
    assert "TensorRT" in text


def test_doctor_sees_the_gpu_and_the_runtimes() -> None:
    text = run("doctor")
    assert "NVIDIA H200" in text
