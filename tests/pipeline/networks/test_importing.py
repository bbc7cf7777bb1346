"""An imported classifier is a bundle like any other: every later step but PyTorch's works on it."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import wrn_deploy
from tests.export.foreign.graphs import Keras, export_torch
from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.lint.finding import Target
from wrn_deploy.data import Role, open_data
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.errors import DamagedFile, DeployError, GateError, StaleArtifact, UsageError
from wrn_deploy.pipeline.finetuning.finetune import FinetuneOptions, Schedule, finetune_bundle
from wrn_deploy.pipeline.measuring.measure import MeasureOptions, evaluate_bundle
from wrn_deploy.pipeline.networks.importing import ImportOptions, import_onnx
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.progress import Silent
from wrn_deploy.runtime.runner import Runner
from wrn_deploy.spec import IMPORTED, Precision

LABELS = tuple("0123456789")


@pytest.fixture(scope="module")
def options(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> ImportOptions:
    """A trained network, as torch's older exporter writes it with a batch of 1."""
    network = wrn_deploy.get_model("wrn-10-1", trained / "weights.safetensors")
    folder = tmp_path_factory.mktemp("import")
    file = export_torch(network, folder / "digits.onnx", dynamo=False, dynamic=False)
    described = network.spec.preprocessing
    return ImportOptions(file=file, out=folder / "bundle", mean=described.mean, std=described.std, labels=LABELS)


@pytest.fixture(scope="module")
def imported(options: ImportOptions) -> Bundle:
    bundle = import_onnx(options, Silent())
    calibrate_bundle(bundle, CalibrateOptions(data="digits", size=64), Silent())
    return bundle


def test_its_description_is_the_graphs(imported: Bundle) -> None:
    spec = imported.spec
    assert (spec.name, spec.family, spec.classes, spec.labels) == ("digits", IMPORTED, 10, LABELS)
    assert (spec.input.shape, imported.random_weights) == ((3, 32, 32), False)
    facts = imported.artifacts["onnx-fp32"].facts["parity"]
    assert [figures["batch"] for figures in facts] == [1, 3, 64]
    assert max(figures["max_abs"] for figures in facts) < 1e-3


def test_it_keeps_its_accuracy_in_int8(imported: Bundle) -> None:
    report = evaluate_bundle(imported, MeasureOptions(data="digits", threads=1), Silent())
    assert report.reference == "ONNX Runtime CPU fp32"
    found = {row.precision: row.accuracy.top1 for row in report.rows if row.accuracy is not None}
    assert found[Precision.FP32] > 0.9
    assert found[Precision.INT8] > found[Precision.FP32] - 0.02
    skipped = {row.backend: row.skipped for row in report.rows if row.skipped}
    assert "was imported from ONNX and has no weights for PyTorch" in (skipped["torch"] or "")


def test_a_runner_answers_as_the_network_does(imported: Bundle, trained: Path) -> None:
    images = np.stack([item.load() for item, _ in zip(open_data("digits", Role.TEST).items(), range(5), strict=False)])
    network = wrn_deploy.get_model("wrn-10-1", trained / "weights.safetensors")
    with Runner.open(imported.folder, backend="onnxruntime", precision="fp32") as runner, torch.inference_mode():
        expected = network(torch.from_numpy(runner.prepare(images))).numpy()
        np.testing.assert_allclose(runner.predict(images), expected, rtol=1e-3, atol=1e-4)
    assert wrn_deploy.predict(imported, images[0], backend="onnxruntime").label in LABELS


@pytest.mark.skipif(Flavor.RTX not in installed_flavors(), reason="TensorRT-RTX is not installed")
def test_plans_are_built_of_it(imported: Bundle) -> None:
    plan = wrn_deploy.build_engine(imported, "int8", flavor="tensorrt_rtx")
    assert plan.facts["precision"]["shares"]["int8"] > 0.9


def test_it_is_fine_tuned(imported: Bundle, tmp_path: Path) -> None:
    """Its graph has operators that our own exports do not have."""
    shutil.copytree(imported.folder, tmp_path / "bundle")
    own = {node.op_type for node in onnx.load(tmp_path / "bundle" / "fp32.onnx").graph.node}
    assert {"GlobalAveragePool", "Flatten"} <= own
    schedule = Schedule(steps=8, batch=32)
    options = FinetuneOptions(data="digits", schedule=schedule, targets=(Target.TENSORRT,), limit=200, threads=1)
    (graph,) = finetune_bundle(Bundle.open(tmp_path / "bundle"), options, Silent()).graphs
    assert graph.difference < 0.1  # of PyTorch's logits from ONNX Runtime's
    assert graph.after.agreement > 0.9


def test_it_is_tuned_and_linted(imported: Bundle) -> None:
    assert wrn_deploy.tune(imported, "digits", max_drop=100, limit=40, threads=1).chosen is not None
    assert wrn_deploy.lint(imported.folder / "int8-tensorrt.onnx").int8_convs > 0


def test_a_second_import_is_up_to_date_and_other_preprocessing_is_not(options: ImportOptions, imported: Bundle) -> None:
    before = imported.artifacts["onnx-fp32"].sha256
    assert import_onnx(options, Silent()).artifacts["onnx-fp32"].sha256 == before
    changed = import_onnx(dataclasses.replace(options, mean=(0.1, 0.2, 0.3)), Silent())
    assert changed.artifacts["onnx-fp32"].sha256 != before
    with pytest.raises(StaleArtifact, match="wrn-deploy calibrate"):
        changed.find("calibration")
    import_onnx(options, Silent())


def test_channels_last_and_a_softmax(tmp_path: Path) -> None:
    file = Keras().classifier(tmp_path / "keras.onnx")
    given = ImportOptions(file=file, out=tmp_path / "bundle", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    bundle = import_onnx(given, Silent())
    assert (bundle.spec.name, bundle.spec.classes) == ("keras", 7)
    calibrate_bundle(bundle, CalibrateOptions(data="digits", size=32), Silent())
    assert "onnx-int8-tensorrt" in bundle.artifacts


def test_what_does_not_fit_leaves_nothing(options: ImportOptions, imported: Bundle, tmp_path: Path) -> None:
    new = dataclasses.replace(options, out=tmp_path / "new")
    with pytest.raises(DeployError, match="2 labels for 10 classes"):
        import_onnx(dataclasses.replace(new, labels=("a", "b")), Silent())
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(DamagedFile, match=r"text\.onnx"):
        import_onnx(dataclasses.replace(new, file=tmp_path / "text.onnx"), Silent())
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(options.file.read_bytes()[:-500])
    with pytest.raises(DeployError, match=r"cut\.onnx"):
        import_onnx(dataclasses.replace(new, file=cut), Silent())
    assert not (tmp_path / "new").exists()
    with pytest.raises(UsageError, match="contains a bundle of digits"):
        import_onnx(dataclasses.replace(options, name="other", out=imported.folder), Silent())


def test_a_graph_that_computes_something_else_is_refused(
    options: ImportOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wrn_deploy.export.foreign import build

    def without_bias(layer: build.Layer, scale: object, shift: object) -> None:
        del layer, scale, shift

    monkeypatch.setattr(build.Layer, "scale_and_shift", without_bias)
    file = Keras().classifier(tmp_path / "keras.onnx")
    with pytest.raises(GateError, match=r"does not compute what keras\.onnx computes"):
        import_onnx(dataclasses.replace(options, file=file, labels=(), out=tmp_path / "new"), Silent())
    assert not (tmp_path / "new").exists()
