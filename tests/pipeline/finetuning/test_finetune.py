"""Fine-tuning a network that int8 ruins: it gets better, the graph keeps its nodes, and nothing else changes."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tests.calib.collapse import LOUD, write_collapsed
from tests.calib.qat.test_trainable import nodes_of
from tests.cli.conftest import contents
from tests.pipeline.quantization.test_calibrate import Noted, agreement
from wrn_deploy.bench.report.finetuning import Standing, read_finetuning
from wrn_deploy.bundle import Bundle
from wrn_deploy.calib.lint.finding import Severity, Target
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches
from wrn_deploy.data.sampling.digest import image_digest
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.engines.options import EngineOptions
from wrn_deploy.errors import DeployError, GateError, UsageError
from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
from wrn_deploy.pipeline.finetuning.finetune import FinetuneOptions, Loss, Schedule, check_finetuning, finetune_bundle
from wrn_deploy.pipeline.finetuning.images import FinetuneImages
from wrn_deploy.pipeline.finetuning.judge import check_arithmetic
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.quantization.lint import lint_file
from wrn_deploy.pipeline.quantization.overlap import check_overlap
from wrn_deploy.pipeline.quantization.quantize import Quantization, Rounding
from wrn_deploy.pipeline.tuning.tune import TuneOptions, tune_bundle
from wrn_deploy.progress import Silent
from wrn_deploy.runtime.sessions import infer_all, open_session
from wrn_deploy.spec import Precision

PLAIN = CalibrateOptions(
    data="digits",
    size=32,
    method="max",
    equalize=False,
    quantization=Quantization(exact_input=False, full_range=False, rounding=Rounding.NEAREST),
)
SHORT = FinetuneOptions(
    data="digits", schedule=Schedule(steps=24, batch=32, rate=0.1), targets=(Target.TENSORRT,), limit=400, threads=1
)
STILL = dataclasses.replace(SHORT, schedule=Schedule(steps=1, batch=2, rate=1e-12, scales=False))
GRAPH, BEFORE = "onnx-int8-tensorrt", "onnx-int8-tensorrt-ptq"


@pytest.fixture(scope="module")
def ruined_bundle(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained network, rescaled so that one int8 scale a tensor leaves next to nothing of it."""
    folder = tmp_path_factory.mktemp("ruined")
    weights = write_collapsed("wrn-10-1", trained / "weights.safetensors", LOUD, folder / "weights.safetensors")
    calibrate_bundle(
        export_bundle(ExportOptions(model="wrn-10-1", out=folder / "bundle", weights=weights), Silent()),
        PLAIN,
        Silent(),
    )
    return folder / "bundle"


@pytest.fixture(scope="module")
def fixed_bundle(ruined_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It, fine-tuned."""
    folder = tmp_path_factory.mktemp("fixed") / "bundle"
    shutil.copytree(ruined_bundle, folder)
    finetune_bundle(Bundle.open(folder), SHORT, Silent())
    return folder


@pytest.fixture
def ruined(ruined_bundle: Path, tmp_path: Path) -> Bundle:
    """A copy that a test may change."""
    shutil.copytree(ruined_bundle, tmp_path / "ruined")
    return Bundle.open(tmp_path / "ruined")


@pytest.fixture
def fixed(fixed_bundle: Path, tmp_path: Path) -> Bundle:
    """A copy that a test may change."""
    shutil.copytree(fixed_bundle, tmp_path / "fixed")
    return Bundle.open(tmp_path / "fixed")


def test_a_collapsed_graph_is_fixed(fixed_bundle: Path) -> None:
    """Judged on the test images, which it neither trained on nor was chosen by."""
    before, after = (agreement(fixed_bundle, f"int8-tensorrt{end}.onnx", "digits") for end in ("-ptq", ""))
    assert before < 0.6, "nothing was ruined"
    assert after > before + 0.25


def test_the_graph_keeps_its_nodes_and_lints_clean(fixed_bundle: Path) -> None:
    before, after = (ir.load(fixed_bundle / f"int8-tensorrt{end}.onnx") for end in ("-ptq", ""))
    assert nodes_of(after) == nodes_of(before)
    assert after.metadata_props == before.metadata_props
    report = lint_file(fixed_bundle / "int8-tensorrt.onnx", None)
    assert {finding.rule.severity for finding in report.findings} <= {Severity.NOTE}


def test_what_is_written(ruined_bundle: Path, fixed_bundle: Path) -> None:
    old, bundle = Bundle.open(ruined_bundle), Bundle.open(fixed_bundle)
    made, kept = bundle.find(GRAPH, ""), bundle.find(BEFORE, "")
    assert (kept.sha256, kept.recipe) == (old.artifacts[GRAPH].sha256, old.artifacts[GRAPH].recipe)
    assert made.recipe.parents[BEFORE] == kept.sha256
    options = made.recipe.options["finetune"]
    assert (options["steps"], options["rate"], options["loss"]) == (24, 0.1, "distill")
    assert options["train"]["images"] + options["held_out"]["images"] == 400
    assert set(options["train"]) == {"data", "data_digest", "images", "labels_digest"}
    record = read_finetuning(bundle.file(bundle.find("finetuning", "")))
    (graph,) = record.improved
    assert made.facts["agreement"] == graph.after.agreement > graph.before.agreement
    assert made.facts["finetuned_steps"] == graph.kept
    assert graph.difference < 0.1
    assert len(graph.looks) == 5
    unchanged = {"onnx-int8-onnxruntime", "calibration", "onnx-fp32", "onnx-fp16"}
    assert all(bundle.artifacts[key] == old.artifacts[key] for key in unchanged)


@pytest.mark.skipif(Flavor.RTX not in installed_flavors(), reason="TensorRT-RTX is not installed")
def test_a_plan_is_built_and_proved(fixed: Bundle) -> None:
    plan = build_engine(
        fixed, BuildOptions(precision=Precision.INT8, engine=EngineOptions(), flavor=Flavor.RTX), Silent()
    )
    assert plan.recipe.parents[GRAPH] == fixed.artifacts[GRAPH].sha256


def test_the_same_fine_tuning_is_not_done_again(fixed: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    before, progress = contents(fixed.folder), Noted()
    monkeypatch.setattr("wrn_deploy.calib.qat.loop.finetune_graph", None)
    again = finetune_bundle(fixed, SHORT, progress)
    assert again == read_finetuning(fixed.folder / "finetuning.json")
    assert any("up to date" in note for note in progress.notes)
    assert contents(fixed.folder) == before


def test_it_starts_anew_from_the_calibrated_graph_and_is_repeatable(ruined: Bundle, fixed: Bundle) -> None:
    few = dataclasses.replace(SHORT, schedule=Schedule(steps=3, batch=8, rate=0.1))
    made = [finetune_bundle(bundle, few, Silent()) for bundle in (ruined, fixed)]
    assert made[0] == made[1]
    assert made[0].improved
    assert ruined.artifacts[GRAPH].sha256 == fixed.artifacts[GRAPH].sha256


def test_what_is_not_better_is_not_written(ruined: Bundle) -> None:
    before = contents(ruined.folder)
    result = finetune_bundle(ruined, STILL, Silent())
    assert not result.improved
    assert contents(ruined.folder) == before
    with pytest.raises(GateError, match=r"no graph improved on \d+ held-out images .*The bundle is unchanged"):
        check_finetuning(result)


def test_a_training_that_diverges_is_an_error_and_leaves_the_bundle(ruined: Bundle) -> None:
    before = contents(ruined.folder)
    wild = dataclasses.replace(SHORT, schedule=Schedule(steps=3, batch=4, rate=1e6))
    with pytest.raises(DeployError, match=r"lower (its|the learning) rate \(--lr\)"):
        finetune_bundle(ruined, wild, Silent())
    assert contents(ruined.folder) == before


def test_both_graphs_and_an_interface(interface_bundle: Bundle) -> None:
    """The features of the graphs stay in the network's own units."""
    clipped = dataclasses.replace(PLAIN, method="percentile", percentile=97.0, equalize=True)
    calibrate_bundle(interface_bundle, clipped, Silent())
    options = dataclasses.replace(SHORT, targets=tuple(Target), schedule=Schedule(steps=12, batch=32), limit=300)
    result = finetune_bundle(interface_bundle, options, Silent())
    assert [graph.key for graph in result.graphs] == [GRAPH, "onnx-int8-onnxruntime"]
    pixels = next(iter(Batches(open_data("digits", Role.TEST), interface_bundle.spec.preprocessing, 32))).images
    files = [interface_bundle.artifacts[key].path for key in ("onnx-fp32", *(graph.key for graph in result.improved))]
    wanted, *got = (
        infer_all(open_session(interface_bundle.folder / file, 1, fuses_qdq="tensorrt" not in file))(pixels)
        for file in files
    )
    assert len(got) == 2, "a graph did not get better"
    for outputs in got:
        assert outputs.keys() == wanted.keys()
        assert np.corrcoef(outputs["features"].ravel(), wanted["features"].ravel())[0, 1] > 0.9


def test_calibrating_again_keeps_it_and_otherwise_replaces_it_with_a_warning(fixed: Bundle) -> None:
    before, progress = contents(fixed.folder), Noted()
    calibrate_bundle(fixed, PLAIN, progress)
    assert contents(fixed.folder) == before
    calibrate_bundle(fixed, dataclasses.replace(PLAIN, size=33), progress)
    assert any("replaces fine-tuned int8 graphs" in text for text in progress.warnings)
    assert "finetune" not in fixed.artifacts[GRAPH].recipe.options


def test_tuning_starts_from_the_calibrated_graph(fixed: Bundle) -> None:
    progress, calibrated = Noted(), fixed.artifacts[BEFORE].sha256
    tune_bundle(fixed, TuneOptions(data="digits", max_drop=100.0, limit=64), progress)
    assert fixed.artifacts[GRAPH].sha256 == calibrated
    assert any("replaces the fine-tuned int8 graph" in text for text in progress.warnings)


def test_a_tuned_graph_keeps_its_fp16_convs(ruined: Bundle) -> None:
    calibrate_bundle(ruined, dataclasses.replace(PLAIN, method="percentile", percentile=97.0), Silent())
    tuning = tune_bundle(ruined, TuneOptions(data="digits", min_agreement=70.0, limit=64), Silent())
    assert tuning.chosen is not None
    assert tuning.chosen.float_convs
    tuned = ir.load(ruined.file(ruined.artifacts[GRAPH]))
    few = dataclasses.replace(SHORT, schedule=Schedule(steps=12, batch=32))
    result = finetune_bundle(ruined, few, Silent())
    assert result.improved
    trained = ir.load(ruined.file(ruined.find(GRAPH, "")))
    assert nodes_of(trained) == nodes_of(tuned)
    weights = f"{tuning.chosen.float_convs[0]}.weight"
    arrays = [model.graph.initializers[weights].const_value for model in (tuned, trained)]
    assert all(array is not None and array.dtype == ir.DataType.FLOAT16 for array in arrays)
    tune_again = Noted()
    tune_bundle(ruined, TuneOptions(data="digits", min_agreement=70.0, limit=64), tune_again)
    assert any("up to date" in note for note in tune_again.notes)


def test_held_out_images_are_never_trained_on(bundle: Bundle, tmp_path: Path) -> None:
    batch = next(iter(Batches(open_data("digits", Role.TRAIN), bundle.spec.preprocessing, 60)))
    twice = np.concatenate([batch.images, batch.images[:20]])  # copies, under other names
    np.savez(tmp_path / "twice.npz", images=twice)
    np.savez(tmp_path / "some.npz", images=batch.images[:15])
    for tests in (None, str(tmp_path / "some.npz")):
        images = FinetuneImages(
            bundle.spec, FinetuneOptions(data=str(tmp_path / "twice.npz"), test_data=tests, shift=0, mirror=False)
        )
        progress = Noted()
        images.read(progress)
        held = {image_digest(image) for group in images.judged_by(8) for image in group.images}
        trained = {
            image_digest(image)
            for group in Batches(images.train, bundle.spec.preprocessing, 8)
            for image in group.images
        }
        assert held
        assert trained
        assert not held & trained
        assert len(images.train) == sum(1 for _ in images.train.items())
        assert images.described["train"]["images"] == len(images.train)
        assert any("30 of 80 images" in text for text in progress.warnings) == (tests is not None)


def test_evaluating_images_that_were_trained_on_is_a_warning(fixed_bundle: Path) -> None:
    bundle = Bundle.open(fixed_bundle)
    digests = {}
    for role in Role:
        batch = next(iter(Batches(open_data("digits", role), bundle.spec.preprocessing, 100)))
        digests[role] = [image_digest(image) for image in batch.images]
    assert check_overlap(bundle, digests[Role.TEST]) == []
    warning = next(found for found in check_overlap(bundle, digests[Role.TRAIN]) if found.id == "trained-on")
    assert "fine-tuned on" in warning.text
    assert 10 < warning.numbers["shared"] < 50


def test_labels_are_asked_for_only_where_they_are_learned(bundle: Bundle, tmp_path: Path) -> None:
    batch = next(iter(Batches(open_data("digits", Role.TRAIN), bundle.spec.preprocessing, 40)))
    np.savez(tmp_path / "bare.npz", images=batch.images)
    bare = dataclasses.replace(SHORT, data=str(tmp_path / "bare.npz"), limit=None, schedule=Schedule(steps=1, batch=4))
    assert finetune_bundle(bundle, bare, Silent()).reference.correct is None
    labels = dataclasses.replace(bare, schedule=Schedule(steps=1, batch=4, loss=Loss.LABELS))
    with pytest.raises(DeployError, match=r"has no label: expected 0 to 9 for --loss labels; `--loss distill`"):
        finetune_bundle(bundle, labels, Silent())


def test_a_bundle_without_a_table_says_what_to_do(ruined: Bundle) -> None:
    (ruined.folder / "calibration.json").unlink()
    with pytest.raises(UsageError, match=r"run `wrn-deploy calibrate .*fine-tuning starts from a calibrated bundle"):
        finetune_bundle(ruined, SHORT, Silent())


def test_another_arithmetic_is_refused() -> None:
    images = np.zeros((4, 3, 2, 2), dtype=np.float32)
    ours = np.arange(40, dtype=np.float32).reshape(4, 10)
    assert check_arithmetic("g", lambda _: ours, lambda _: ours + 0.1, images, Path("g.onnx")) < 0.01
    with pytest.raises(GateError, match=r"ONNX Runtime computes other logits with g\.onnx than g was trained with"):
        check_arithmetic("g", lambda _: ours, lambda _: ours[::-1], images, Path("g.onnx"))


def test_better_is_a_lower_loss_and_no_answer_lost() -> None:
    start = Standing(100, 0.5, 90, 80)
    assert Standing(100, 0.4, 90, 70).is_better_than(start, by_labels=False)
    assert not Standing(100, 0.4, 90, 70).is_better_than(start, by_labels=True)
    assert not Standing(100, 0.4, 89, 99).is_better_than(start, by_labels=False)
    assert not Standing(100, 0.5, 99, 99).is_better_than(start, by_labels=False)


@pytest.mark.parametrize("wrong", [{"epochs": 0.0}, {"shift": -1}, {"targets": ()}], ids=str)
def test_options_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        FinetuneOptions(data="digits", **wrong)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch": 0}, {"rate": 0.0}, {"rate": float("nan")}, {"seed": -1}])
def test_schedules_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        Schedule(**wrong)
