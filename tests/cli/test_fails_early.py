"""What can be refused before PyTorch is imported is: paths, names, and the place for the results."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.conftest import PROGRAM, Cli, contents

REPORT = "\nimport atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"


class Disk(NamedTuple):
    """What `shutil.disk_usage` returns."""

    total: int
    used: int
    free: int


RANDOM = ["--random-weights"]
WRONG = {
    "weights": ["export", "wrn-16-2", "--weights", "no.pth", "-o", "b"],
    "published weights": ["export", "--weights", "timm/wide_resnet50", "-o", "b"],
    "model": ["export", "wm-16-2", *RANDOM, "-o", "b"],
    "depth": ["export", "wrn-17-2", *RANDOM, "-o", "b"],
    "place": ["export", "wrn-16-2", *RANDOM, "-o", "file/b"],
    "deploy's weights": ["deploy", "wrn-16-2", "--weights", "no.pth", "--calib-data", "digits", "-o", "b"],
    "deploy's data": ["deploy", "wrn-16-2", "--weights", "file", "--calib-data", "no", "-o", "b"],
    "deploy's place": ["deploy", "wrn-16-2", "--weights", "w", "--calib-data", "digits", "-o", "file"],
    "train's model": ["train", "wrn-16-x", "-o", "r"],
    "train's data": ["train", "wrn-16-2", "--data", "no", "-o", "r"],
    "train's place": ["train", "wrn-16-2", "-o", "file/r"],
    "import's file": ["import", "no.onnx", "--mean", "0,0,0", "--std", "1,1,1", "-o", "b"],
    "calibrate's bundle": ["calibrate", "no", "--calib-data", "digits"],
    "build-engine's bundle": ["build-engine", "no", "--fp16"],
    "tune's bundle": ["tune", "no", "--data", "digits", "--max-drop", "1"],
    "finetune's bundle": ["finetune", "no", "--data", "digits"],
}
OF_A_BUNDLE = {
    "calibrate": ["--calib-data", "no"],
    "tune": ["--data", "no", "--max-drop", "1"],
    "finetune": ["--data", "no"],
    "build-engine": ["--int8", "--calib-data", "no"],
}
STEPS = {
    "calibrate": ["--calib-data", "digits"],
    "tune": ["--data", "digits", "--max-drop", "1"],
    "finetune": ["--data", "digits"],
    "build-engine": ["--fp16"],
}


def run(folder: Path, *arguments: str) -> tuple[int, str, set[str]]:
    """The exit code of a command in a folder, its error, and the modules that it has loaded."""
    command = [sys.executable, "-c", REPORT + PROGRAM, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    *error, modules = done.stderr.splitlines()
    return done.returncode, "\n".join(error), set(modules.split())


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_path_or_name_loads_no_torch(tmp_path: Path, what: str) -> None:
    (tmp_path / "file").touch()
    shutil.copy(Path(__file__), tmp_path / "w")
    code, error, modules = run(tmp_path, *WRONG[what])
    assert (code, error.count("error: ")) == (1, 1), error
    assert "wrn_deploy" in modules
    assert "torch" not in modules
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "w"]


@pytest.mark.parametrize("command", OF_A_BUNDLE)
def test_wrong_data_for_a_bundle_loads_no_torch(made_bundle: Path, tmp_path: Path, command: str) -> None:
    code, error, modules = run(tmp_path, command, str(made_bundle), *OF_A_BUNDLE[command])
    assert code == 1
    assert "no data at 'no': expected a path" in error
    assert "torch" not in modules


@pytest.mark.parametrize("command", STEPS)
def test_a_bundle_that_cannot_be_written_to_is_refused_before_the_work(
    cli: Cli, made_bundle: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    before = contents(made_bundle)
    monkeypatch.setattr(
        "os.access", lambda _path, mode: not mode & os.W_OK
    )  # as on a file system that is mounted read-only
    outcome = cli(command, made_bundle, *STEPS[command])
    assert outcome.code == 1
    assert f"error: {made_bundle} is a folder that cannot be written to: expected a folder for " in outcome.err
    assert contents(made_bundle) == before


@pytest.mark.parametrize("command", STEPS)
def test_a_full_disk_is_refused_before_the_work(
    cli: Cli, made_bundle: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Disk(10**9, 10**9 - 5000, 5000))
    outcome = cli(command, made_bundle, *STEPS[command])
    assert outcome.code == 1
    assert f"5.00 kB free at {made_bundle}: free some space, or choose another --out" in outcome.err


def test_the_size_comes_from_the_network(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Disk(10**9, 9 * 10**8, 10**8))
    outcome = cli("export", "wrn-28-10", *RANDOM, "--out", tmp_path / "b")  # 36.5 million parameters, 10 bytes each
    assert outcome.code == 1
    assert "disk full: the bundle needs about 366 MB, 100 MB free at" in outcome.err
