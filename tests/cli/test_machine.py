"""What this machine cannot do: exit code 4 and what to install, or a row of the report that says why it was skipped."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli, contents
from tests.manifests import read_record, write_record
from wrn_deploy.bundle import Bundle
from wrn_deploy.engines.flavor import Flavor, installed_flavors

pytestmark = pytest.mark.usefixtures("short_turns")

ROWS = ("--data", "digits", "--limit", 8, "--rounds", 1, "--iterations", 1, "--batches", 1, "--threads", 1, "--json")
needs_rtx = pytest.mark.skipif(Flavor.RTX not in installed_flavors(), reason="TensorRT-RTX is not installed")


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes packages look as if they were not installed."""

    def hidden(*modules: str) -> None:
        for module in modules:
            monkeypatch.setitem(sys.modules, module, None)

    return hidden


def _skipped(report: Any, title: str) -> str:
    """Why all rows of a backend were left out; the reasons may differ in the precision alone."""
    reasons = {re.sub("--(fp16|int8)", "", row["skipped"]) for row in report["rows"] if row["title"] == title}
    assert len(reasons) == 1
    return str(reasons.pop())


@pytest.mark.parametrize("options", [("--fp16",), ("--int8",), ("--fp16", "--flavor", "tensorrt_rtx")])
def test_building_without_tensorrt(
    cli: Cli, bundle: Bundle, hide: Callable[..., None], options: tuple[str, ...]
) -> None:
    hide("tensorrt", "tensorrt_rtx")
    before = contents(bundle.folder)
    outcome = cli("build-engine", bundle.folder, *options)
    assert outcome.code == 4
    assert "installed: pip install " in outcome.err
    assert "'tensorrt>=10.13.3' for TensorRT" in outcome.err
    assert "pip install 'tensorrt-rtx>=1.7'" in outcome.err
    assert contents(bundle.folder) == before


def test_without_tensorrt_the_other_candidates_are_measured(
    cli: Cli, made_bundle: Path, tmp_path: Path, hide: Callable[..., None]
) -> None:
    hide("tensorrt", "tensorrt_rtx")
    report = cli("bench", made_bundle, *ROWS, "--out", tmp_path).json()
    for title in ("TensorRT", "TensorRT-RTX"):
        assert "is not installed: pip install" in _skipped(report, title)
    assert {row["title"] for row in report["rows"] if row["skipped"] is None} == {"PyTorch CPU", "ONNX Runtime CPU"}


def test_naming_a_backend_that_is_not_there(cli: Cli, made_bundle: Path, pngs: Path, hide: Callable[..., None]) -> None:
    hide("tensorrt", "tensorrt_rtx")
    for backend in ("tensorrt", "tensorrt_rtx"):
        outcome = cli("eval", made_bundle, "--data", "digits", "--backend", backend)
        assert outcome.code == 4
        assert "is not installed: pip install" in outcome.err
        outcome = cli("predict", made_bundle, min(pngs.iterdir()), "--backend", backend)
        assert outcome.code == 4
        assert "is not installed: pip install" in outcome.err


@needs_rtx
@pytest.mark.usefixtures("no_torch")
def test_a_plan_that_another_version_built(cli: Cli, bundle: Bundle, pngs: Path, tmp_path: Path) -> None:
    record = read_record(bundle.folder)
    for precision in ("fp16", "int8"):
        record["artifacts"][f"plan-{precision}-tensorrt_rtx"]["facts"]["version"] = "1.2.3.4"
    write_record(bundle.folder, record)
    assert "1.2.3.4" in _skipped(cli("bench", bundle.folder, *ROWS, "--out", tmp_path).json(), "TensorRT-RTX")
    outcome = cli("predict", bundle.folder, min(pngs.iterdir()), "--backend", "tensorrt_rtx")
    assert outcome.code == 4
    assert "1.2.3.4" in outcome.err
    assert "rebuild it here" in outcome.err


@pytest.mark.parametrize(
    ("module", "command", "words"),
    [
        ("torch", ("train", "wrn-10-1", "--out", "NEW"), "pip install 'torch>=2.9'"),
        ("torch", ("models", "wrn-22-7"), "pip install 'torch>=2.9'"),
        ("onnxscript", ("export", "wrn-10-1", "--random-weights", "--out", "NEW"), "pip install 'onnxscript>=0.5.6'"),
        ("onnxruntime", ("predict", "BUNDLE", "PNG", "--backend", "onnxruntime"), "pip install 'onnxruntime>=1.24'"),
        ("onnxruntime", ("calibrate", "BUNDLE", "--calib-data", "PNGS"), "pip install 'onnxruntime>=1.24'"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
class TestMissingPackage:
    """An optional package that is missing is named, with the command that brings it."""

    @pytest.fixture
    def places(self, bundle: Bundle, pngs: Path, tmp_path: Path) -> dict[str, Path]:
        return {"BUNDLE": bundle.folder, "PNG": min(pngs.iterdir()), "PNGS": pngs, "NEW": tmp_path / "new"}

    def test_it_is_named(
        self, cli: Cli, places: dict[str, Path], module: str, command: tuple[str, ...], words: str
    ) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            patch.delitem(sys.modules, "wrn_deploy.models.families.wrn", raising=False)
            outcome = cli(*(places.get(argument, argument) for argument in command))
        assert outcome.code == 4
        assert words in outcome.err
        assert not places["NEW"].exists()
