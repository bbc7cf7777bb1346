"""Runs the command line in this process, and makes what its tests feed it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wrn_deploy.cli import main
from wrn_deploy.data import Role, open_data

PROGRAM = "import sys; from wrn_deploy.cli import main; sys.argv[0] = 'wrn-deploy'; main()"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Runs `wrn-deploy` with the given arguments; wide, so that no message is broken into lines."""
    monkeypatch.setenv("COLUMNS", "400")

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["wrn-deploy", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err, err
        return Outcome(int(end.value.code or 0), out, err)

    return run


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts `wrn-deploy` as a process of its own."""

    def started(*arguments: object, **more: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
        paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "COLUMNS": "400"}
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(command, cwd=tmp_path, env={**os.environ, **paths}, text=True, **{**pipes, **more})

    return started


def contents(folder: Path) -> dict[str, str]:
    """The digest of each file in a folder, to see that a failed command has changed none."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if PyTorch were not installed: measuring starts fewer and lighter workers."""
    monkeypatch.setitem(sys.modules, "torch", None)


@pytest.fixture
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at the times that these tests measure."""
    monkeypatch.setattr("wrn_deploy.pipeline.measuring.rounds.WARM_UP_S", (0.01, 0.1))


@pytest.fixture
def weights(trained: Path) -> Path:
    return trained / "weights.safetensors"


@pytest.fixture
def pngs(tmp_path: Path) -> Path:
    """Five test digits as files, their classes in the names: 0-is-4.png, ..."""
    folder = tmp_path / "pngs"
    folder.mkdir()
    for index, item in zip(range(5), open_data("digits", Role.TEST).items(), strict=False):
        Image.fromarray(item.load()).save(folder / f"{index}-is-{item.label}.png")
    return folder


@pytest.fixture
def npz(tmp_path: Path) -> Callable[..., Path]:
    """Writes an .npz of black images: how many, of which size, with which label (None: without labels)."""

    def write(count: int = 4, size: int = 32, label: int | None = 0) -> Path:
        path = tmp_path / f"{count}-{size}-{label}.npz"
        images = np.zeros((count, size, size, 3), dtype=np.uint8)
        if label is None:
            np.savez(path, images=images)
        else:
            np.savez(path, images=images, labels=np.full(count, label, dtype=np.uint8))
        return path

    return write
