"""The steps of the gate for pull requests, run in bash as GitHub runs them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors
import yaml
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / "examples" / "github-action" / "accuracy-and-speed.yml"
PROGRAM = "#!{python}\nimport sys\nfrom wrn_deploy.cli import main\n\nsys.argv[0] = 'wrn-deploy'\nmain()\n"
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")


class Runner:
    """A folder as a runner has it, with two sets of weights, and the steps' commands."""

    def __init__(self, folder: Path, before: Path, after: Path, **settings: str) -> None:
        self.folder = folder
        read: dict[str, Any] = yaml.load(WORKFLOW.read_text(encoding="utf-8"), yaml.BaseLoader)
        steps = read["jobs"]["gate"]["steps"]
        self.commands = {step["name"]: step["run"] for step in steps if "run" in step}
        (folder / "base").mkdir()
        shutil.copy(before, folder / "base" / "weights.safetensors")
        shutil.copy(after, folder / "weights.safetensors")
        (folder / "bin").mkdir()
        program = folder / "bin" / "wrn-deploy"
        program.write_text(PROGRAM.format(python=sys.executable), encoding="utf-8")
        program.chmod(0o755)
        self.environment = {**os.environ, **read["env"], **settings}
        self.environment["PATH"] = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        self.environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), *sys.path]))
        self.environment["GITHUB_STEP_SUMMARY"] = str(folder / "summary.md")

    def run(self, name: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", self.commands[name]]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )


@pytest.fixture(scope="module")
def measured(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """After the steps that make and measure both bundles; the pull request has two classes confused."""
    folder = tmp_path_factory.mktemp("runner")
    good = trained / "weights.safetensors"
    with safetensors.safe_open(good, "numpy") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    classifier = next(name for name, tensor in tensors.items() if tensor.shape == (10, 64))
    tensors[classifier][[0, 1]] = tensors[classifier][[1, 0]]
    save_file(tensors, folder / "confused.safetensors", metadata)
    runner = Runner(
        folder,
        good,
        folder / "confused.safetensors",
        MAX_REGRESS="900%",
        BENCH="--batches 1 --rounds 8 --duration 0.5 --threads 1",
    )
    for name in list(runner.commands)[1:4]:
        done = runner.run(name)
        assert done.returncode == 0, f"{name}\n{done.stdout}\n{done.stderr}"
    return runner


def test_less_accuracy_fails_it_and_shows_the_report(measured: Runner) -> None:
    done = measured.run("Compare")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "top-1" in done.stderr
    assert measured.run("Show the report").returncode == 0
    summary = (measured.folder / "summary.md").read_text(encoding="utf-8")
    assert "ONNX Runtime CPU int8" in summary


def test_the_same_weights_pass(measured: Runner) -> None:
    shutil.rmtree(measured.folder / "after")
    shutil.copytree(measured.folder / "before", measured.folder / "after")
    done = measured.run("Compare")
    # A machine that other programs keep busy may leave no time to judge; the text says so then.
    assert done.returncode == 0 or (done.returncode == 1 and "has nothing to check" in done.stderr), done.stderr
    assert (measured.folder / "history.html").is_file()
