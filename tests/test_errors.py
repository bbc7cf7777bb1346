"""Each kind of error through the functions that services call, which tell kinds apart; and the drawn tree."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wrn_deploy
from tests.manifests import edit_manifest
from wrn_deploy import (
    DamagedFile,
    DeployError,
    GateError,
    MachineError,
    MissingArtifact,
    Runner,
    StaleArtifact,
    UsageError,
    errors,
    get_model,
    predict,
)  # fmt: skip
from wrn_deploy.bench.report.report import read_report
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import CorruptImage, Role, open_data


def change_manifest(bundle: Bundle, change: Callable[[dict[str, Any]], object]) -> None:
    edit_manifest(bundle.folder, lambda record: change(record["artifacts"]))


def open_int8(bundle: Bundle) -> None:
    Runner.open(bundle.folder, backend="onnxruntime", precision="int8")


def test_an_artifact_that_was_never_made_is_missing(bundle: Bundle) -> None:
    change_manifest(bundle, lambda artifacts: artifacts.pop("onnx-int8-onnxruntime"))
    with pytest.raises(MissingArtifact, match="has no onnx-int8-onnxruntime: run `wrn-deploy calibrate "):
        open_int8(bundle)


def test_an_artifact_whose_file_is_gone_is_missing(bundle: Bundle) -> None:
    bundle.file(bundle.artifacts["onnx-int8-onnxruntime"]).unlink()
    with pytest.raises(MissingArtifact, match=r"is missing or cannot be read .* run `wrn-deploy calibrate "):
        open_int8(bundle)


def test_an_artifact_whose_input_has_changed_is_stale(bundle: Bundle) -> None:
    change_manifest(bundle, lambda artifacts: artifacts["calibration"].update(sha256="0" * 64))
    with pytest.raises(StaleArtifact, match=r"was made from calibration .*, which is now 000000000000: run "):
        open_int8(bundle)


def test_a_file_with_another_digest_is_damaged(bundle: Bundle) -> None:
    bundle.file(bundle.artifacts["onnx-int8-onnxruntime"]).write_bytes(b"another")
    with pytest.raises(DamagedFile, match="is not the file that the manifest describes"):
        open_int8(bundle)


def test_a_manifest_that_cannot_be_read_is_damaged(bundle: Bundle) -> None:
    (bundle.folder / "manifest.json").write_text('{"format": 1, "artifacts"')
    with pytest.raises(DamagedFile, match=r"manifest\.json is damaged"):
        open_int8(bundle)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_weights_that_cannot_be_read_are_damaged(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04no checkpoint" * 9)
    with pytest.raises(DamagedFile, match="damaged"):
        get_model("wrn-10-1", weights=tmp_path / name)


def test_data_that_cannot_be_read_is_damaged(made_bundle: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", images=np.zeros((4, 8, 8, 3), np.uint8), labels=np.arange(4))
    whole = (tmp_path / "images.npz").read_bytes()
    (tmp_path / "images.npz").write_bytes(whole.replace(b"NUMPY", b"NUMBY"))
    with pytest.raises(DamagedFile, match=r"images\.npz is damaged"):
        open_data(str(tmp_path / "images.npz"), Role.TEST)
    (tmp_path / "image.png").write_bytes(b"\x89PNG no image")
    with pytest.raises(CorruptImage, match=r"image\.png cannot be decoded"):
        predict(made_bundle, tmp_path / "image.png", backend="onnxruntime", precision="fp32")
    (tmp_path / "report.json").write_text("[]")
    with pytest.raises(DamagedFile, match=r"report\.json is not a benchmark report"):
        read_report(tmp_path / "report.json")


def test_what_contradicts_itself_is_a_usage_error(made_bundle: Path) -> None:
    with pytest.raises(UsageError, match="does not run fp16 here: expected one of fp32, int8"):
        Runner.open(made_bundle, backend="onnxruntime", precision="fp16")


def test_what_is_not_installed_is_the_machines(made_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(MachineError, match="OpenVINO is not installed"):
        Runner.open(made_bundle, backend="openvino", precision="fp32")


def test_missing_stale_and_damaged_can_be_told_apart() -> None:
    kinds = (MissingArtifact, StaleArtifact, DamagedFile, UsageError, GateError, MachineError)
    for kind in kinds:
        assert issubclass(kind, DeployError)
        assert not any(issubclass(kind, other) for other in kinds if other is not kind)
        assert getattr(wrn_deploy, kind.__name__) is kind
    assert issubclass(CorruptImage, DamagedFile)


def test_the_drawn_tree_is_that_of_the_classes() -> None:
    drawn = re.findall(r"^ {4}([│├└─ ]*)(\w+) +(\d)  \w", str(errors.__doc__), re.MULTILINE)
    classes: dict[str, Any] = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind)}
    assert {name for _, name, _ in drawn} == {*classes, "CorruptImage"}
    above: list[str] = []
    for branch, name, code in drawn:
        kind = {**classes, "CorruptImage": CorruptImage}[name]
        above[len(branch) // 4 :] = [name]
        assert kind.exit_code == int(code)
        assert [base.__name__ for base in reversed(kind.__mro__) if issubclass(base, DeployError)] == above
