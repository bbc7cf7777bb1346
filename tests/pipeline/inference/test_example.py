"""The example that comes with the package: it is what its manifest says, and is copied whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError
from wrn_deploy.pipeline.inference.example import FOLDER, KEYS, PICTURE, copy_example
from wrn_deploy.pipeline.inference.predict import PredictOptions, predict_images
from wrn_deploy.pipeline.measuring.measure import MeasureOptions, evaluate_bundle
from wrn_deploy.progress import Silent

LIMIT_BYTES = 700_000


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < LIMIT_BYTES


def test_it_is_as_accurate_as_its_manifest_says(tmp_path: Path) -> None:
    copied = copy_example(tmp_path / "example", Silent())
    options = MeasureOptions(data="digits", backends=("onnxruntime",), threads=1)
    report = evaluate_bundle(copied.bundle, options, Silent())
    rows = {row.precision: row.accuracy for row in report.rows if row.backend == "onnxruntime"}
    for key, figures in copied.accuracy.items():
        measured = rows[copied.bundle.artifacts[key].precision]
        assert measured is not None
        assert figures.images == measured.images == 359
        # The int8 kernels of another CPU may saturate or round otherwise.
        assert abs(figures.correct - measured.correct) <= 2
        assert figures.correct / figures.images > 0.95


def test_its_picture_is_recognised(tmp_path: Path) -> None:
    copied = copy_example(tmp_path / "example", Silent())
    found = predict_images(copied.bundle, PredictOptions(images=[copied.picture], backend="onnxruntime"), Silent())
    assert found.images[0].label == "7"
    assert found.images[0].score > 0.5


def test_a_second_copy_changes_nothing_and_a_damaged_one_is_repaired(tmp_path: Path) -> None:
    out = tmp_path / "example"
    copy_example(out, Silent())
    made = (out / "fp32.onnx").stat().st_mtime_ns
    copy_example(out, Silent())
    assert (out / "fp32.onnx").stat().st_mtime_ns == made
    (out / "fp32.onnx").write_bytes(b"damaged")
    (out / PICTURE).unlink()
    copied = copy_example(out, Silent())
    assert copied.picture.is_file()
    assert all(Bundle.open(out).find(key) for key in KEYS)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DeployError, match=r"contains other files but no manifest\.json"):
        copy_example(tmp_path, Silent())
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_another_bundle_is_refused(made_bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(made_bundle, tmp_path / "bundle")
    with pytest.raises(DeployError, match="holds another bundle, of wrn-10-1: choose another --out"):
        copy_example(tmp_path / "bundle", Silent())
