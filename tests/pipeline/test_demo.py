"""The whole job in one call: every step's file, the report, the gate, and that a second run repeats nothing."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from wrn_deploy.bench.report.report import Report
from wrn_deploy.bundle import Bundle
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.errors import DeployError, GateError
from wrn_deploy.pipeline import demo
from wrn_deploy.pipeline.demo import DemoOptions, run_demo
from wrn_deploy.pipeline.measuring.measure import MeasureOptions
from wrn_deploy.progress import Silent
from wrn_deploy.rendering.html import files_of


class Notes(Silent):
    """Keeps notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    warn = note


@pytest.fixture(scope="module")
def quick() -> Callable[..., Report]:
    """Runs the demo with short turns and few epochs; the gate is opened unless a test closes it."""

    def run(out: Path, notes: Notes, max_drop: float = 100.0) -> Report:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("wrn_deploy.pipeline.measuring.rounds.WARM_UP_S", (0.01, 0.1))
            patch.setattr(demo, "MeasureOptions", functools.partial(MeasureOptions, rounds=1, iterations=2, threads=1))
            patch.setattr(demo, "MAX_DROP", max_drop)
            return run_demo(DemoOptions(out=out, model="wrn-10-1", epochs=2), notes)

    return run


@pytest.fixture(scope="module")
def ran(quick: Callable[..., Report], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    out = tmp_path_factory.mktemp("demo") / "out"
    return out, quick(out, Notes())


def test_every_step_left_its_files(ran: tuple[Path, Report]) -> None:
    out, _ = ran
    assert (out / "training" / "weights.safetensors").is_file()
    assert {file.name for file in (out / "reports").iterdir()} == set(files_of("bench").values())
    keys = set(Bundle.open(out / "bundle").artifacts)
    assert {"weights", "onnx-fp32", "onnx-fp16", "calibration", "onnx-int8-tensorrt"} <= keys
    if Flavor.RTX in installed_flavors():
        assert {"plan-fp16-tensorrt_rtx", "plan-int8-tensorrt_rtx"} <= keys


def test_the_report_has_every_candidate(ran: tuple[Path, Report]) -> None:
    out, report = ran
    assert report.data == "digits"
    assert {(row.backend, str(row.precision)) for row in report.rows if row.skipped is None} >= {
        ("torch", "fp32"),
        ("onnxruntime", "fp32"),
        ("onnxruntime", "int8"),
    }
    assert json.loads((out / "reports" / "bench.json").read_text(encoding="utf-8")) == json.loads(report.to_json())


def test_a_second_run_repeats_no_step_and_the_gate_comes_last(
    quick: Callable[..., Report], ran: tuple[Path, Report]
) -> None:
    out, _ = ran
    made = {file: file.stat().st_mtime_ns for file in (out / "bundle").iterdir()}
    (out / "reports" / "bench.json").unlink()
    notes = Notes()
    with pytest.raises(GateError, match="points of top-1"):
        quick(out, notes, max_drop=-1.0)
    assert {file: file.stat().st_mtime_ns for file in (out / "bundle").iterdir()} == made
    assert not any(note.startswith("epoch") for note in notes.notes)
    assert (out / "reports" / "bench.json").is_file()  # written before the gate, which it explains


def test_a_run_without_tensorrt_says_so_and_goes_on(
    quick: Callable[..., Report], ran: tuple[Path, Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, module, None)
    notes = Notes()
    report = quick(ran[0], notes)
    assert any(
        "no TensorRT is installed; TensorRT-RTX builds them without a GPU: pip install " in note for note in notes.notes
    )
    assert {row.skipped is None for row in report.rows if row.backend.startswith("tensorrt")} == {False}


def test_a_place_that_cannot_hold_it_is_refused_before_training(quick: Callable[..., Report], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"precious")
    with pytest.raises(DeployError, match="is a file: expected a folder"):
        quick(tmp_path / "file", Notes())
    assert (tmp_path / "file").read_bytes() == b"precious"
