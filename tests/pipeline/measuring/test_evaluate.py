"""Accuracy of weights alone: the numbers of their bundle, without one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from wrn_deploy.bench.report.report import Report, read_report
from wrn_deploy.bundle import Bundle, sha256_of
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.models import Overrides
from wrn_deploy.pipeline.inference.models import BundleOrWeights
from wrn_deploy.pipeline.measuring.evaluate import evaluate_target
from wrn_deploy.pipeline.measuring.measure import MeasureOptions
from wrn_deploy.progress import Silent
from wrn_deploy.rendering.notes import summary
from wrn_deploy.spec import Precision

DIGITS = MeasureOptions(data="digits", threads=1)


@pytest.fixture(scope="module")
def report(trained: Path) -> Report:
    return evaluate_target(BundleOrWeights(path=trained / "weights.safetensors"), DIGITS, Silent())


def test_weights_that_say_what_they_are_need_no_name(report: Report, trained: Path) -> None:
    (row,) = report.rows
    assert (report.model, report.data, report.random_weights) == ("wrn-10-1", "digits", False)
    assert (row.name, row.artifact, row.sha256) == (
        *("PyTorch CPU fp32", "weights.safetensors"),
        sha256_of(trained / "weights.safetensors"),
    )


def test_they_answer_as_their_bundle_does(report: Report, made_bundle: Path) -> None:
    options = dataclasses.replace(DIGITS, backends=("torch",), precision=Precision.FP32)
    bundles = evaluate_target(BundleOrWeights(path=made_bundle), options, Silent())
    (alone,) = report.rows
    row = next(row for row in bundles.rows if row.name == alone.name)
    assert alone.accuracy is not None
    assert row.accuracy is not None
    assert (alone.accuracy.images, alone.accuracy.correct, alone.accuracy.correct5, alone.accuracy.classes) == (
        *(row.accuracy.images, row.accuracy.correct),
        *(row.accuracy.correct5, row.accuracy.classes),
    )
    assert report.data_digest == bundles.data_digest


def test_the_report_is_one_like_any_other(report: Report, tmp_path: Path) -> None:
    (tmp_path / "eval.json").write_text(report.to_json(), encoding="utf-8")
    assert read_report(tmp_path / "eval.json") == report
    (row,) = report.rows
    assert row.accuracy is not None
    right = f"({row.accuracy.correct} of 359 images), top-5 "
    assert summary(report).startswith("PyTorch CPU fp32: top-1 ")
    assert right in summary(report)


def test_a_limit_is_kept(trained: Path) -> None:
    options = dataclasses.replace(DIGITS, limit=70)
    (row,) = evaluate_target(BundleOrWeights(path=trained / "weights.safetensors"), options, Silent()).rows
    assert row.accuracy is not None
    assert row.accuracy.images == 70


@pytest.mark.parametrize(("model", "right"), [("wrn-16-2", 955), ("wrn-40-1", 950)])
def test_the_real_checkpoints_are_as_good_as_published(shared_data: Path, model: str, right: int) -> None:
    weights = shared_data / "checkpoints" / f"{model}-cifar10.pth"
    options = MeasureOptions(data=str(shared_data / "cifar10" / "test-exact-1017.npz"), threads=1)
    (row,) = evaluate_target(BundleOrWeights(path=weights, model=model), options, Silent()).rows
    assert row.accuracy is not None
    assert (row.accuracy.correct, row.accuracy.images) == (right, 1017)


def test_weights_that_fit_one_network_need_no_name(trained: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(trained / "weights.safetensors"), tmp_path / "plain.pth")
    recognised, named = (
        evaluate_target(BundleOrWeights(path=tmp_path / "plain.pth", model=model), DIGITS, Silent()).rows[0].accuracy
        for model in (None, "wrn-10-1")
    )
    assert recognised == named
    with pytest.raises(DeployError, match="is not a checkpoint of wrn-16-1"):
        evaluate_target(BundleOrWeights(path=tmp_path / "plain.pth", model="wrn-16-1"), DIGITS, Silent())


@pytest.mark.parametrize(
    "options",
    [
        dataclasses.replace(DIGITS, backends=("onnxruntime",)),
        dataclasses.replace(DIGITS, backends=("torch", "torch_cuda")),
        dataclasses.replace(DIGITS, precision=Precision.INT8),
        dataclasses.replace(DIGITS, everything=True),
    ],
)
def test_what_only_a_bundle_can_do_is_refused(trained: Path, options: MeasureOptions) -> None:
    with pytest.raises(UsageError, match="weights run in PyTorch alone, in fp32"):
        evaluate_target(BundleOrWeights(path=trained / "weights.safetensors"), options, Silent())


def test_a_gate_needs_a_bundle(trained: Path) -> None:
    with pytest.raises(UsageError, match="--max-drop compare a bundle's candidates"):
        evaluate_target(BundleOrWeights(path=trained / "weights.safetensors"), DIGITS, Silent(), gated=True)


def test_a_bundle_keeps_its_own_preprocessing(made_bundle: Path) -> None:
    assert BundleOrWeights(path=made_bundle).is_bundle
    with pytest.raises(UsageError, match="is a bundle, which has its own network and preprocessing"):
        BundleOrWeights(path=made_bundle, overrides=Overrides(resize=40))
    with pytest.raises(UsageError, match="expected no --model"):
        BundleOrWeights(path=made_bundle, model=Bundle.open(made_bundle).spec.name)


def test_published_weights_are_near_what_was_meant() -> None:
    with pytest.raises(DeployError, match=r"nothing found at 'timm/wide_resnet50_2\.racm' \(did you mean .*racm_in1k"):
        BundleOrWeights(path=Path("timm/wide_resnet50_2.racm"))
