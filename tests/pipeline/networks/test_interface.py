"""A bundle with an interface, from export to every step that reads its graphs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tests.pipeline.quantization.test_calibrate import Noted
from wrn_deploy.bench.report.report import Accuracy, Report
from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.collection.table import read_table
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, normalize, scale_and_shift
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.errors import GateError, UsageError
from wrn_deploy.export import interface
from wrn_deploy.models.checkpoints.weights import read_weights
from wrn_deploy.pipeline.measuring.measure import MeasureOptions, bench_bundle, evaluate_bundle
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.quantization.base_graph import read_unwrapped, unwrapped_file, write_wrapped
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.quantization.lint import lint_file
from wrn_deploy.pipeline.tuning.graphs import MixedGraphs
from wrn_deploy.pipeline.tuning.tune import TuneOptions, tune_bundle
from wrn_deploy.progress import Silent
from wrn_deploy.runtime.sessions import infer_all, open_session
from wrn_deploy.spec import Interface, Precision

GRAPHS = ("fp32", "fp16", "int8-tensorrt", "int8-onnxruntime")


def exported(weights: Path, out: Path, **changes: Any) -> Bundle:
    return export_bundle(ExportOptions(model="wrn-10-1", out=out, weights=weights, **changes), Silent())


@pytest.fixture
def weights(trained: Path) -> Path:
    return trained / "weights.safetensors"


def test_the_description_has_what_was_asked_for(made_interface_bundle: Path) -> None:
    spec = Bundle.open(made_interface_bundle).spec
    assert spec.interface == Interface(pixels=True, top_k=3, features=64)
    assert [output.shape for output in spec.outputs] == [(3,), (3,), (64,)]


def test_the_weights_are_those_of_a_bundle_without_an_interface(made_bundle: Path, made_interface_bundle: Path) -> None:
    first, second = (folder / "weights.safetensors" for folder in (made_bundle, made_interface_bundle))
    assert first.read_bytes() == second.read_bytes()
    assert read_weights(second).spec == Bundle.open(made_bundle).spec


@pytest.mark.parametrize("name", GRAPHS)
def test_every_graph_is_that_of_a_bundle_without_an_interface_with_it_around(
    made_bundle: Path, made_interface_bundle: Path, name: str
) -> None:
    plain, wrapped = (folder / f"{name}.onnx" for folder in (made_bundle, made_interface_bundle))
    core = ir.to_proto(read_unwrapped(wrapped)).SerializeToString(deterministic=True)
    assert core == ir.to_proto(ir.load(plain)).SerializeToString(deterministic=True)


def test_the_calibration_is_the_same(made_bundle: Path, made_interface_bundle: Path) -> None:
    first, second = (read_table(folder / "calibration.json") for folder in (made_bundle, made_interface_bundle))
    assert first.tensors == second.tensors
    assert first.equalization == second.equalization


@pytest.mark.parametrize("name", GRAPHS)
def test_pixels_and_normalised_images_are_answered_alike(
    made_bundle: Path, made_interface_bundle: Path, name: str
) -> None:
    preprocessing = Bundle.open(made_bundle).spec.preprocessing
    pixels = next(iter(Batches(open_data("digits", Role.TEST), preprocessing, 50))).images
    plain, wrapped = (
        infer_all(open_session(folder / f"{name}.onnx", threads=1, fuses_qdq=name != "int8-tensorrt"))
        for folder in (made_bundle, made_interface_bundle)
    )
    logits, found = plain(normalize(pixels, preprocessing))["logits"], wrapped(pixels)
    np.testing.assert_array_equal(found["top_logits"], -np.sort(-logits, axis=1)[:, :3])
    np.testing.assert_array_equal(found["top_classes"][:, 0], logits.argmax(axis=1))


def test_the_parity_of_every_output_is_recorded(made_interface_bundle: Path) -> None:
    bundle = Bundle.open(made_interface_bundle)
    for key in ("onnx-fp32", "onnx-fp16"):
        facts = bundle.artifacts[key].facts
        assert {record["batch"] for record in facts["parity"]} == {1, 3, 64}
        checked = {(record["output"], record["batch"]) for record in facts["interface"]}
        assert checked == {(name, size) for name in ("top_logits", "top_classes", "features") for size in (1, 3, 64)}


def test_another_interface_is_another_export(interface_bundle: Bundle, weights: Path) -> None:
    asked: dict[str, Any] = {"pixels": True, "top_k": 3, "features": True}
    before = interface_bundle.artifacts["onnx-fp32"]
    again = exported(weights, interface_bundle.folder, **asked)
    assert again.artifacts["onnx-fp32"] == before
    assert "onnx-int8-tensorrt" in again.artifacts
    other = exported(weights, interface_bundle.folder, **{**asked, "top_k": 2})
    assert other.artifacts["onnx-fp32"].sha256 != before.sha256
    assert Bundle.open(other.folder).spec.outputs[0].shape == (2,)
    plain = exported(weights, interface_bundle.folder)
    assert Bundle.open(plain.folder).spec.interface == Interface()


def test_logits_and_features_of_pixels(weights: Path, tmp_path: Path) -> None:
    bundle = exported(weights, tmp_path / "bundle", pixels=True, features=True)
    assert [output.name for output in bundle.spec.outputs] == ["logits", "features"]
    found = {record["output"] for record in bundle.artifacts["onnx-fp16"].facts["interface"]}
    assert found == {"logits", "features"}


def test_a_bf16_graph_has_the_interface_too(weights: Path, tmp_path: Path) -> None:
    bundle = exported(weights, tmp_path / "bundle", pixels=True, top_k=1, bf16=True)
    graph = ir.load(bundle.file(bundle.artifacts["onnx-bf16"])).graph
    assert [value.name for value in graph.outputs] == ["top_logits", "top_classes"]
    assert graph.inputs[0].dtype == ir.DataType.UINT8


@pytest.mark.parametrize("top_k", [0, 11])
def test_as_many_top_classes_as_there_are(weights: Path, tmp_path: Path, top_k: int) -> None:
    with pytest.raises(UsageError, match=f"--top-k {top_k}: expected 1 to 10, the number of classes"):
        exported(weights, tmp_path / "bundle", top_k=top_k)
    assert not (tmp_path / "bundle").exists()


def test_a_wrong_normalisation_inside_is_stopped_and_nothing_is_written(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = scale_and_shift

    def wrong(preprocessing: Any) -> Any:
        scale, shift = right(preprocessing)
        return scale * np.float32(1.01), shift

    monkeypatch.setattr(interface, "scale_and_shift", wrong)
    with pytest.raises(GateError, match="the fp32 graph does not give PyTorch's logits"):
        exported(weights, tmp_path / "bundle", pixels=True)
    assert not (tmp_path / "bundle" / "manifest.json").exists()


def test_the_core_of_a_plain_graph_is_its_own_file(made_bundle: Path, made_interface_bundle: Path) -> None:
    with unwrapped_file(made_bundle / "fp32.onnx", Bundle.open(made_bundle).spec) as file:
        assert file == made_bundle / "fp32.onnx"
    with unwrapped_file(made_interface_bundle / "fp32.onnx", Bundle.open(made_interface_bundle).spec) as file:
        assert [value.name for value in ir.load(file).graph.outputs] == ["logits"]
    assert not file.exists()


def test_a_graph_is_written_with_the_interface(made_interface_bundle: Path, tmp_path: Path) -> None:
    spec, file = Bundle.open(made_interface_bundle).spec, made_interface_bundle / "fp16.onnx"
    write_wrapped(read_unwrapped(file), tmp_path / "graph.onnx", spec)
    assert (tmp_path / "graph.onnx").read_bytes() == file.read_bytes()


def test_calibrating_again_has_nothing_to_do(interface_bundle: Bundle) -> None:
    log = Noted()
    calibrate_bundle(interface_bundle, CalibrateOptions(data="digits", size=128), log)
    assert any("up to date" in note for note in log.notes)


@pytest.mark.parametrize("target", ["tensorrt", "onnxruntime"])
def test_linting_does_not_see_the_interface(made_bundle: Path, made_interface_bundle: Path, target: str) -> None:
    plain, wrapped = (
        lint_file(folder / f"int8-{target}.onnx", None) for folder in (made_bundle, made_interface_bundle)
    )
    assert dataclasses.replace(wrapped, file=plain.file) == plain


def test_tuning_measures_the_core_and_keeps_the_interface(interface_bundle: Bundle) -> None:
    untuned = interface_bundle.file(interface_bundle.artifacts["onnx-int8-tensorrt"])
    before = untuned.read_bytes()
    tuning = tune_bundle(interface_bundle, TuneOptions(data="digits", max_drop=5.0, limit=100), Silent())
    assert tuning.chosen is not None
    assert (tuning.reference.images, tuning.reference.top1 > 0.9) == (100, True)
    assert interface_bundle.file(interface_bundle.artifacts["onnx-int8-tensorrt"]).read_bytes() == before
    assert {layer.name for layer in tuning.layers} >= {"conv1", "block3.0.conv2"}


def test_a_mixed_graph_is_kept_with_the_interface(made_interface_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(made_interface_bundle)
    graphs = MixedGraphs(bundle, bundle.artifacts["onnx-int8-tensorrt"])
    graphs.write(["conv1"], tmp_path / "kept.onnx")
    graphs.write_unwrapped(["conv1"], tmp_path / "measured.onnx")
    kept, measured = (ir.load(tmp_path / f"{name}.onnx") for name in ("kept", "measured"))
    assert [value.name for value in kept.graph.outputs] == ["top_logits", "top_classes", "features"]
    assert [value.name for value in measured.graph.outputs] == ["logits"]
    assert lint_file(tmp_path / "kept.onnx", None).float_convs == 1
    unwrapped = ir.to_proto(read_unwrapped(tmp_path / "kept.onnx")).SerializeToString(deterministic=True)
    assert unwrapped == ir.to_proto(measured).SerializeToString(deterministic=True)


def _accuracies(report: Report) -> dict[tuple[str, Precision], Accuracy]:
    return {(row.backend, row.precision): row.accuracy for row in report.rows if row.accuracy is not None}


def test_accuracy_is_that_of_a_bundle_without_an_interface(made_bundle: Path, made_interface_bundle: Path) -> None:
    options = MeasureOptions(data="digits", threads=1, limit=120)
    plain, wrapped = (
        evaluate_bundle(Bundle.open(folder), options, Silent()) for folder in (made_bundle, made_interface_bundle)
    )
    wanted, found = (_accuracies(report) for report in (plain, wrapped))
    assert {("torch", Precision.FP32), ("onnxruntime", Precision.FP32), ("onnxruntime", Precision.INT8)} <= set(found)
    # three classes and their logits alone do not tell them
    unknown: dict[str, Any] = {"correct5": None, "max_error": None, "mean_error": None}
    assert found == {candidate: dataclasses.replace(accuracy, **unknown) for candidate, accuracy in wanted.items()}


def test_latency_is_measured_on_pixels(made_interface_bundle: Path) -> None:
    options = MeasureOptions(
        data="digits",
        backends=("onnxruntime",),
        precision=Precision.INT8,
        batches=(1, 3),
        rounds=1,
        iterations=2,
        threads=1,
        limit=20,
    )
    report = bench_bundle(Bundle.open(made_interface_bundle), options, Silent())
    measured = [row for row in report.rows if (row.backend, row.precision) == ("onnxruntime", Precision.INT8)]
    assert [timing.batch for timing in measured[0].latencies] == [1, 3]


@pytest.mark.skipif(Flavor.RTX not in installed_flavors(), reason="TensorRT-RTX is not installed")
@pytest.mark.parametrize("precision", [Precision.FP16, Precision.INT8])
def test_plans_are_built_for_pixels_and_say_what_they_give(made_interface_bundle: Path, precision: Precision) -> None:
    plan = Bundle.open(made_interface_bundle).artifacts[f"plan-{precision}-tensorrt_rtx"]
    assert [(one["dtype"], tuple(one["shape"])) for one in plan.facts["inputs"]] == [("uint8", (32, 32, 3))]
    outputs = [(one["name"], one["dtype"], tuple(one["shape"])) for one in plan.facts["outputs"]]
    assert outputs == [
        ("top_logits", "float32", (3,)), ("top_classes", "int64", (3,)), ("features", "float32", (64,)),
    ]  # fmt: skip
    assert plan.facts["precision"]["shares"].get(precision.value, 0) > 0.99
