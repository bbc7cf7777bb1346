"""A first try with onnxruntime alone: example, then predict, eval, bench and Runner, and nothing else installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import PROGRAM, Cli

ABSENT = (
    "torch",
    "onnx",
    "onnx_ir",
    "onnxscript",
    "safetensors",
    "threadpoolctl",
    "tensorrt",
    "tensorrt_rtx",
    "openvino",
)
SERVICE = """
import numpy, wrn_deploy
copied = wrn_deploy.example("example")
with wrn_deploy.Runner.open("example", precision="int8") as runner:
    print(wrn_deploy.predict(runner, copied.picture).label, runner.backend)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a process, and of those that it starts, in which only `[cpu]` seems to be installed."""
    (tmp_path / "site").mkdir()
    absent = f"import sys\nsys.modules.update(dict.fromkeys({ABSENT}))\n"  # importing one is an ImportError
    (tmp_path / "site" / "sitecustomize.py").write_text(absent, encoding="utf-8")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), *filter(None, sys.path)])}


def run(code: str, *arguments: str, cwd: Path, env: dict[str, str]) -> str:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_command_of_the_first_try_runs(tmp_path: Path, environment: dict[str, str]) -> None:
    def wrn_deploy(*arguments: str) -> str:
        return run(PROGRAM, *arguments, cwd=tmp_path, env=environment)

    assert "354 of 359 test images of digits correct" in wrn_deploy("example")
    assert "  7\n" in wrn_deploy("predict", "example", "example/seven.png")
    few = ["--data", "digits", "--limit", "20", "--json"]
    for measured in (
        wrn_deploy("eval", "example", *few),
        wrn_deploy("bench", "example", *few, "--rounds", "1", "--duration", "0.01", "--batches", "1"),
    ):
        ran = {row["title"] for row in json.loads(measured)["rows"] if row["accuracy"] is not None}
        assert ran == {"ONNX Runtime CPU"}
    assert "all intact" in wrn_deploy("verify", "example")


def test_a_service_runs_it(tmp_path: Path, environment: dict[str, str]) -> None:
    assert run(SERVICE, cwd=tmp_path, env=environment) == "7 onnxruntime\n"


def test_the_next_commands_are_printed_as_a_shell_takes_them(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "a b"
    assert f"wrn-deploy predict '{out}' '{out}/seven.png'" in cli("example", "--out", out).out
    assert cli("example", "--out", out, "--json").json()["accuracy"]["onnx-fp32"]["images"] == 359
