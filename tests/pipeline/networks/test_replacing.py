"""An export over a bundle: other weights replace the old ones; another network only if the user says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.pipeline.networks.test_weights import NoteLog
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import UsageError
from wrn_deploy.models import Overrides
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.progress import Silent


@pytest.fixture
def folder(made_bundle: Path, tmp_path: Path) -> Path:
    """A calibrated bundle of wrn-10-1."""
    return Path(shutil.copytree(made_bundle, tmp_path / "bundle"))


def _files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"model": "wrn-10-2"}, r"a bundle of wrn-10-1 \(10 classes, \d+ artifacts\): expected one of wrn-10-2 \(10"),
        ({"model": "wrn-10-1", "overrides": Overrides(classes=7)}, r"wrn-10-1 \(10 cl.* of wrn-10-1 \(7 classes"),
        ({"model": "wrn-10-1"}, "contains weights of wrn-10-1 that are not random: expected random ones"),
    ],
    ids=["network", "classes", "random"],
)  # fmt: skip
def test_another_model_s_bundle_is_kept_unless_told(options: dict[str, object], text: str, folder: Path) -> None:
    before = _files(folder)
    wanted: dict[str, object] = {"out": folder, "random_weights": True, **options}
    with pytest.raises(UsageError, match=text) as error:
        export_bundle(ExportOptions(**wanted), Silent())  # type: ignore[arg-type]
    assert "choose another --out, or pass --replace" in str(error.value)
    assert _files(folder) == before
    log = NoteLog()
    export_bundle(ExportOptions(**wanted, replace=True), log)  # type: ignore[arg-type]
    assert Bundle.open(folder).spec.name == options["model"]
    assert "made from files that are now replaced, so make them again: calibration, " in log.warnings[-1]


def test_other_weights_of_the_same_network_replace_the_old_ones_and_say_what_is_stale(
    folder: Path, trained: Path
) -> None:
    log = NoteLog()
    changed = ExportOptions(
        model="wrn-10-1",
        out=folder,
        weights=trained / "weights.safetensors",
        overrides=Overrides(mean=(0.4, 0.4, 0.4)),
    )
    export_bundle(changed, log)
    assert "make them again: calibration, " in log.warnings[-1]
    again = NoteLog()
    export_bundle(changed, again)
    assert again.warnings == []


def test_a_damaged_bundle_is_repaired(folder: Path, trained: Path) -> None:
    (folder / "manifest.json").write_text('{"artifacts": {}', encoding="utf-8")
    export_bundle(ExportOptions(model="wrn-10-1", out=folder, weights=trained / "weights.safetensors"), Silent())
    assert Bundle.open(folder).spec.name == "wrn-10-1"
