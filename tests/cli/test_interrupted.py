"""Steps that are interrupted, killed or run out of space: a short text, and the bundle as it was."""

from __future__ import annotations

import functools
import os
import resource
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, contents
from wrn_deploy.bundle import Bundle

Start = Callable[..., subprocess.Popen[str]]
SLOW = ("--calib-size", 1400, "--calib-method", "entropy")
SMALL = 50_000  # bytes that a file may have on the full disk


def _read_until(process: subprocess.Popen[str], words: str) -> str:
    """What it says on stderr, up to the line with `words`: there it is in the middle of the step."""
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:
        seen += line
        if words in line:
            return seen
    raise AssertionError(f"it ended without {words!r}: {seen}")


def test_ctrl_c_during_export_leaves_no_bundle(start: Start, tmp_path: Path) -> None:
    process = start("export", "wrn-40-2", "--random-weights", "--out", "bundle")
    _read_until(process, "Exporting")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert err.splitlines() == ["interrupted: unfinished files are discarded; what was there before is unchanged"]
    assert not (tmp_path / "bundle").exists()


def test_ctrl_c_during_calibrate_leaves_the_bundle_as_it_was(start: Start, bundle: Bundle) -> None:
    before = contents(bundle.folder)
    process = start("calibrate", bundle.folder, "--calib-data", "digits", *SLOW)
    _read_until(process, "Collecting")
    process.send_signal(signal.SIGINT)
    assert "interrupted: " in process.communicate()[1]
    assert process.returncode == 130
    assert contents(bundle.folder) == before


def test_ctrl_c_during_finetune_leaves_the_bundle_as_it_was(start: Start, bundle: Bundle) -> None:
    before = contents(bundle.folder)
    process = start("finetune", bundle.folder, "--data", "digits", "--steps", 5000, "--threads", 1)
    _read_until(process, "Fine-tuning")
    process.send_signal(signal.SIGINT)
    assert "interrupted: " in process.communicate()[1]
    assert process.returncode == 130
    assert contents(bundle.folder) == before


def test_ctrl_c_during_bench_ends_its_workers(start: Start, bundle: Bundle) -> None:
    process = start("bench", bundle.folder, "--data", "digits")
    _read_until(process, "Timing")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert not (bundle.folder / "reports").exists()


def test_a_killed_export_leaves_the_bundle_usable_and_is_swept(
    start: Start, cli: Cli, bundle: Bundle, weights: Path
) -> None:
    before = contents(bundle.folder)
    process = start("export", "wrn-10-1", "--weights", weights, "--mean", "0.4,0.4,0.4", "--out", bundle.folder)
    _read_until(process, "Exporting")
    process.kill()
    process.communicate()
    left = {path for path in contents(bundle.folder) if path not in before}
    assert all(path.startswith(".staging-") for path in left)
    assert {path: digest for path, digest in contents(bundle.folder).items() if path in before} == before
    assert cli("calibrate", bundle.folder, "--calib-data", "digits", "--calib-size", 16).code == 0
    assert not [*bundle.folder.glob(".staging-*")]


@pytest.mark.parametrize(
    "command",
    [
        ("export", "wrn-10-1", "--weights", "WEIGHTS", "--out", "NEW"),
        ("export", "wrn-10-1", "--random-weights", "--replace", "--out", "BUNDLE"),
        ("calibrate", "BUNDLE", "--calib-data", "digits", "--calib-size", "16"),
        ("train", "wrn-10-1", "--epochs", "1", "--out", "NEW"),
    ],
    ids=lambda command: " ".join((command[0], command[-1])),
)
def test_a_full_disk(
    start: Start,
    bundle: Bundle,
    weights: Path,
    tmp_path: Path,
    command: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = contents(bundle.folder)
    places = {"WEIGHTS": weights, "BUNDLE": bundle.folder, "NEW": tmp_path / "new"}
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (SMALL, SMALL))
    for variable in [name for name in os.environ if name.startswith("COVERAGE")]:  # its data would not fit either
        monkeypatch.delenv(variable)
    process = start(*(places.get(argument, argument) for argument in command), preexec_fn=limit)
    out, err = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert "Traceback" not in err
    assert "File too large" in err.splitlines()[-1]
    assert contents(bundle.folder) == before
    assert not [path for path in contents(tmp_path / "new") if path.endswith((".safetensors", ".onnx"))]
