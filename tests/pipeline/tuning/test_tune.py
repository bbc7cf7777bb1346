"""Tuning a network with one layer that int8 ruins: the layer is found, kept in fp16, and nothing else changes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
from safetensors.numpy import load_file, save_file

from tests.cli.conftest import contents
from tests.pipeline.quantization.test_calibrate import Noted, agreement
from wrn_deploy.bench.report.tuning import Score, Tuning, read_tuning
from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.writing.for_tensorrt import FLOAT_CONVS
from wrn_deploy.data import Item, Role, open_data, preprocess
from wrn_deploy.data.cached_batches import CachedBatches
from wrn_deploy.data.preprocess import Batches
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.engines.options import EngineOptions
from wrn_deploy.errors import DeployError, GateError, UsageError
from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.quantization.lint import Severity, lint_file
from wrn_deploy.pipeline.quantization.quantize import mixed_graph
from wrn_deploy.pipeline.tuning.graphs import MixedGraphs
from wrn_deploy.pipeline.tuning.reference import Reference
from wrn_deploy.pipeline.tuning.tune import SAMPLE, TuneOptions, check_tuning, tune_bundle
from wrn_deploy.progress import Silent
from wrn_deploy.spec import Precision, Preprocessing

PLANTED = "block2.0.conv2"
PLAIN = CalibrateOptions(data="digits", size=64, method="max", equalize=False)
ONE_POINT = TuneOptions(data="digits", max_drop=1.0)


@pytest.fixture(scope="session")
def planted_bundle(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained network with one channel before PLANTED 2**12 times as large, and its weights there as much smaller.

    fp32 computes the same, and one scale for the tensor leaves nothing of its other channels.
    """
    folder = tmp_path_factory.mktemp("planted")
    weights = load_file(trained / "weights.safetensors")
    for name in ("weight", "bias"):
        weights[f"block2.0.bn2.{name}"][3] *= 2.0**12
    weights[f"{PLANTED}.weight"][:, 3] /= 2.0**12
    save_file(weights, folder / "weights.safetensors")
    bundle = export_bundle(
        ExportOptions(model="wrn-10-1", out=folder / "bundle", weights=folder / "weights.safetensors"), Silent()
    )
    calibrate_bundle(bundle, PLAIN, Silent())
    return folder / "bundle"


@pytest.fixture
def planted(planted_bundle: Path, tmp_path: Path) -> Bundle:
    """A copy that a test may change."""
    shutil.copytree(planted_bundle, tmp_path / "planted")
    return Bundle.open(tmp_path / "planted")


@pytest.fixture(scope="module")
def tuned_once(planted_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tuning]:
    """A copy of it, tuned to lose one point at most, and what tuning returned."""
    folder = tmp_path_factory.mktemp("tuned") / "planted"
    shutil.copytree(planted_bundle, folder)
    return folder, tune_bundle(Bundle.open(folder), ONE_POINT, Silent())


@pytest.fixture
def tuned(tuned_once: tuple[Path, Tuning], tmp_path: Path) -> tuple[Bundle, Tuning]:
    """A copy of that, which a test may change."""
    folder, tuning = tuned_once
    shutil.copytree(folder, tmp_path / "planted")
    return Bundle.open(tmp_path / "planted"), tuning


def spoil_fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs with a Conv in fp16 get another classifier, so that none of them answers as fp32 does."""

    def spoiled(*args: Any, **options: Any) -> ir.Model:
        model = mixed_graph(*args, **options)
        bias = model.graph.initializers["fc.bias"]
        assert bias.const_value is not None
        steps = np.arange(0, 100, 10, dtype=np.float16)
        bias.const_value = ir.Tensor(bias.const_value.numpy() + steps, name=bias.name)
        return model

    monkeypatch.setattr("wrn_deploy.pipeline.tuning.graphs.mixed_graph", spoiled)


def score_of(bundle: Bundle, float_convs: tuple[str, ...], folder: Path) -> tuple[Score, Score]:
    """fp32's score on the test digits, and that of the int8 graph with these Convs in fp16."""
    batches = CachedBatches(Batches(open_data("digits", Role.TEST), bundle.spec.preprocessing, 64))
    untuned = bundle.artifacts.get("onnx-int8-untuned", bundle.artifacts["onnx-int8-tensorrt"])
    MixedGraphs(bundle, untuned).write(float_convs, folder / "scored.onnx")
    with Reference(bundle.folder / "fp32.onnx", batches, 1, lambda _count: None) as reference:
        return reference.score, reference.compare(folder / "scored.onnx", lambda _count: None)


def test_the_layer_that_collapses_is_found_and_kept(
    planted: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert agreement(planted.folder, "int8-tensorrt.onnx", "digits") < 0.9, "nothing was planted"
    decoded: Counter[str] = Counter()
    fit_item = preprocess.fit_item

    def counting(item: Item, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
        decoded[item.name] += 1
        return fit_item(item, preprocessing)

    with monkeypatch.context() as patch:
        patch.setattr(preprocess, "fit_item", counting)
        tuning = tune_bundle(planted, ONE_POINT, Silent())
    assert sum(decoded.values()) == tuning.reference.images + SAMPLE, "each image is decoded once"
    assert tuning.chosen is not None
    assert PLANTED in tuning.chosen.float_convs
    assert PLANTED in [layer.name for layer in tuning.layers[:2]]
    assert tuning.chosen.int8_share > 0.8
    check_tuning(tuning)
    reference, score = score_of(planted, tuning.chosen.float_convs, tmp_path)
    assert (reference, score) == (tuning.reference, tuning.chosen.score)
    assert 100 * (reference.top1 - score.top1) <= 1.0 + 1e-9


def test_no_kept_layer_can_be_left_out(planted: Bundle, tmp_path: Path) -> None:
    tuning = tune_bundle(planted, TuneOptions(data="digits", max_drop=0.0, min_agreement=99.0), Silent())
    assert tuning.chosen is not None
    for name in tuning.chosen.float_convs:
        rest = tuple(other for other in tuning.chosen.float_convs if other != name)
        reference, score = score_of(planted, rest, tmp_path)
        assert not tuning.budget.met(score, reference), f"{name} is not needed"


def test_what_is_written(planted_bundle: Path, tuned: tuple[Bundle, Tuning]) -> None:
    table = Bundle.open(planted_bundle).artifacts["calibration"].sha256
    bundle, tuning = tuned
    assert tuning.chosen is not None
    artifact = bundle.find("onnx-int8-tensorrt", "")
    model = ir.load(bundle.file(artifact))
    assert json.loads(model.metadata_props[FLOAT_CONVS]) == sorted(tuning.chosen.float_convs)
    assert set(artifact.recipe.parents) == {"calibration", "onnx-fp32", "onnx-fp16"}
    assert artifact.recipe.options["tune"]["max_drop"] == 1.0
    assert artifact.recipe.options["tune"]["labelled"]["images"] == tuning.reference.images
    assert artifact.facts["float_convs"] == list(tuning.chosen.float_convs)
    assert artifact.facts["int8_share"] == pytest.approx(lint_file(bundle.file(artifact), None).int8_share)
    assert artifact.facts["top1_all_int8"] < artifact.facts["top1"]
    assert bundle.artifacts["calibration"].sha256 == table
    assert read_tuning(bundle.file(bundle.find("tuning", ""))) == tuning
    # Here ONNX Runtime fuses Q/DQ, and for tuning it does not: an image or two may be answered otherwise.
    measured = agreement(bundle.folder, "int8-tensorrt.onnx", "digits")
    assert measured == pytest.approx(tuning.chosen.score.agreement, abs=2.5 / tuning.reference.images)


def test_the_tuned_graph_lints_clean(tuned: tuple[Bundle, Tuning]) -> None:
    report = lint_file(tuned[0].folder / "int8-tensorrt.onnx", None)
    assert {finding.rule.severity for finding in report.findings} <= {Severity.NOTE}
    assert "QDQ111" in {finding.rule.id for finding in report.findings}


@pytest.mark.skipif(Flavor.RTX not in installed_flavors(), reason="TensorRT-RTX is not installed")
def test_a_plan_is_built_from_it_and_the_old_one_is_stale(planted: Bundle) -> None:
    options = BuildOptions(precision=Precision.INT8, engine=EngineOptions(), flavor=Flavor.RTX)
    old = build_engine(planted, options, Silent())
    tune_bundle(planted, ONE_POINT, Silent())
    with pytest.raises(DeployError, match=r"was made from onnx-int8-tensorrt \w+, which is now \w+"):
        planted.find(old.key, "wrn-deploy build-engine")
    plan = build_engine(planted, options, Silent())
    assert plan.recipe.parents["onnx-int8-tensorrt"] == planted.artifacts["onnx-int8-tensorrt"].sha256
    assert plan.sha256 != old.sha256


def test_nothing_is_kept_where_all_int8_meets_the_budget(bundle: Bundle) -> None:
    before = bundle.file(bundle.artifacts["onnx-int8-tensorrt"]).read_bytes()
    tuning = tune_bundle(bundle, TuneOptions(data="digits", max_drop=5.0), Silent())
    assert tuning.chosen is not None
    assert (tuning.chosen.float_convs, tuning.chosen.int8_share) == ((), 1.0)
    assert bundle.file(bundle.artifacts["onnx-int8-tensorrt"]).read_bytes() == before


def test_the_same_tuning_is_not_done_again(planted: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    options = dataclasses.replace(ONE_POINT, calibrate=PLAIN)
    first = tune_bundle(planted, options, Silent())
    before, progress = contents(planted.folder), Noted()
    monkeypatch.setattr("wrn_deploy.pipeline.tuning.tune.Tuner", None)
    monkeypatch.setattr("wrn_deploy.pipeline.quantization.writing.write_graphs", None)
    again = tune_bundle(Bundle.open(planted.folder), options, progress)
    assert again == first
    assert any("up to date" in note for note in progress.notes)
    assert str(planted.folder) in progress.notes[-1]
    assert contents(planted.folder) == before


@pytest.mark.parametrize(
    "change", [{"max_drop": 2.0}, {"min_agreement": 50.0}, {"limit": 50}, {"calibrate": PLAIN}], ids=str
)
def test_another_option_is_another_tuning(planted: Bundle, change: dict[str, object]) -> None:
    few = dataclasses.replace(ONE_POINT, limit=100)
    tune_bundle(planted, few, Silent())
    old = planted.artifacts["onnx-int8-tensorrt"].recipe
    tune_bundle(planted, dataclasses.replace(few, **change), Silent())  # type: ignore[arg-type]
    assert planted.artifacts["onnx-int8-tensorrt"].recipe != old


def test_it_is_tuned_anew_from_the_untuned_graph(tuned: tuple[Bundle, Tuning]) -> None:
    planted, first = tuned
    untuned = planted.file(planted.artifacts["onnx-int8-untuned"]).read_bytes()
    tuning = tune_bundle(planted, TuneOptions(data="digits", max_drop=100.0), Silent())
    assert first.chosen is not None
    assert tuning.chosen is not None
    assert len(first.chosen.float_convs) > len(tuning.chosen.float_convs) == 0
    assert tuning.layers == first.layers
    assert planted.file(planted.find("onnx-int8-tensorrt", "")).read_bytes() == untuned


def test_other_labels_are_another_tuning(planted: Bundle, tmp_path: Path) -> None:
    batch = next(iter(Batches(open_data("digits", Role.TEST), planted.spec.preprocessing, 100)))
    recipes = []
    for shift in (0, 1):
        np.savez(tmp_path / "labelled.npz", images=batch.images, labels=(batch.labels + shift) % 10)
        tune_bundle(planted, TuneOptions(data=str(tmp_path / "labelled.npz"), min_agreement=90.0), Silent())
        recipes.append(planted.artifacts["onnx-int8-tensorrt"].recipe)
    assert recipes[0] != recipes[1]


def test_a_new_calibration_comes_with_the_tuned_graph(planted: Bundle) -> None:
    old = planted.artifacts["calibration"].sha256
    tuning = tune_bundle(
        planted, dataclasses.replace(ONE_POINT, calibrate=dataclasses.replace(PLAIN, size=65)), Silent()
    )
    bundle = Bundle.open(planted.folder)
    assert bundle.artifacts["calibration"].sha256 != old
    for key in ("calibration", "onnx-int8-onnxruntime", "onnx-int8-tensorrt", "tuning"):
        bundle.find(key, "")
    assert tuning.chosen is not None
    assert bundle.artifacts["onnx-int8-tensorrt"].facts["float_convs"] == list(tuning.chosen.float_convs)


def test_an_impossible_budget_leaves_the_bundle_as_it_was(planted: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new calibration is dropped, too."""
    spoil_fp16(monkeypatch)
    before = contents(planted.folder)
    again = dataclasses.replace(PLAIN, size=65)
    tuning = tune_bundle(planted, TuneOptions(data="digits", min_agreement=100.0, calibrate=again), Silent())
    assert tuning.chosen is None
    assert len(tuning.frontier) == 6
    assert contents(planted.folder) == before
    with pytest.raises(GateError, match=r"no set of Convs meets --min-agreement 100: .* agree with fp32.*unchanged"):
        check_tuning(tuning)


def test_a_budget_that_only_fp16_meets_is_not_met(tuned: tuple[Bundle, Tuning]) -> None:
    half = dataclasses.replace(tuned[1], chosen=None)
    with pytest.raises(GateError, match=r"--max-drop 1 is met only with every Conv in fp16: .*build-engine --fp16"):
        check_tuning(half)


def test_a_bundle_without_a_table_says_what_to_do(planted: Bundle) -> None:
    (planted.folder / "calibration.json").unlink()
    with pytest.raises(UsageError, match=r"calibration\.json is missing .*or pass --calib-data DATA"):
        tune_bundle(planted, ONE_POINT, Silent())


def test_images_without_labels_are_refused_before_any_work(planted: Bundle, tmp_path: Path) -> None:
    np.savez(tmp_path / "bare.npz", images=np.zeros((4, 32, 32, 3), dtype=np.uint8))
    with pytest.raises(DeployError, match="has no label: expected 0 to 9"):
        tune_bundle(planted, TuneOptions(data=str(tmp_path / "bare.npz"), max_drop=1.0), Silent())


def test_a_budget_finer_than_an_image_is_a_warning(bundle: Bundle) -> None:
    noted = Noted()
    tune_bundle(bundle, TuneOptions(data="digits", max_drop=0.1, min_agreement=0.0, limit=64), noted)
    assert any("one of 64 images is 1.56 points of top-1, more than --max-drop 0.1" in text for text in noted.warnings)


@pytest.mark.parametrize(
    "wrong",
    [{}, {"max_drop": -100.0}, {"max_drop": float("nan")}, {"min_agreement": 101.0}, {"min_agreement": -1.0}],
    ids=str,
)
def test_a_budget_that_makes_no_sense_is_a_usage_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        TuneOptions(data="digits", **wrong)
