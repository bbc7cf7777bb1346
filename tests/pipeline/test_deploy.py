"""From weights to a measured bundle in one call: what is made, what is skipped, what the gate judges."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipeline.test_demo import Notes
from wrn_deploy.bundle import Bundle
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.errors import DeployError, GateError, UsageError
from wrn_deploy.pipeline.deploy import Deployment, DeployOptions, check_deployment, deploy_weights
from wrn_deploy.pipeline.measuring.measure import MeasureOptions
from wrn_deploy.pipeline.networks.export import ExportOptions
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions
from wrn_deploy.progress import Silent
from wrn_deploy.rendering.html import files_of
from wrn_deploy.spec import Precision

Make = Callable[..., DeployOptions]


@pytest.fixture(scope="module")
def options(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> DeployOptions:
    """Weights that name their network, calibrated and measured on digits."""
    return DeployOptions(
        export=ExportOptions(
            out=tmp_path_factory.mktemp("deployed") / "bundle", weights=trained / "weights.safetensors"
        ),
        calibrate=CalibrateOptions(data="digits", size=64),
        measure=MeasureOptions(data="digits", threads=1),
        max_drop=5.0,
    )


@pytest.fixture(scope="module")
def made(options: DeployOptions) -> Deployment:
    return deploy_weights(options, Silent())


def test_everything_is_made(made: Deployment) -> None:
    assert made.bundle.spec.name == "wrn-10-1"
    keys = {"weights", "onnx-fp32", "onnx-fp16", "calibration", "onnx-int8-tensorrt", "onnx-int8-onnxruntime"}
    if Flavor.RTX in installed_flavors():
        keys |= {"plan-fp16-tensorrt_rtx", "plan-int8-tensorrt_rtx"}
        assert [plan.key for plan in made.plans] == ["plan-fp16-tensorrt_rtx", "plan-int8-tensorrt_rtx"]
    assert keys <= set(Bundle.open(made.bundle.folder).artifacts)
    assert {file.name for file in (made.bundle.folder / "reports").iterdir()} == set(files_of("accuracy").values())
    assert list(made.seconds) == ["export", "calibrate", "build", "evaluate"]


def test_the_report_has_accuracy_of_fp32_and_int8(made: Deployment) -> None:
    assert made.report is not None
    measured = {(row.backend, row.precision) for row in made.report.rows if row.accuracy is not None}
    assert {("onnxruntime", Precision.FP32), ("onnxruntime", Precision.INT8)} <= measured
    assert not made.report.timed
    check_deployment(made)


def test_a_second_call_repeats_no_step(options: DeployOptions, made: Deployment) -> None:
    before = {file: file.stat().st_mtime_ns for file in made.bundle.folder.iterdir() if file.is_file()}
    notes = Notes()
    again = deploy_weights(dataclasses.replace(options, measure=None), notes)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert sum("up to date" in note for note in notes.notes) == 2 + len(made.plans)
    assert (again.report, [plan.sha256 for plan in again.plans]) == (None, [plan.sha256 for plan in made.plans])
    check_deployment(again)  # nothing was measured: nothing is judged


def test_int8_alone_builds_and_measures_nothing_else(options: DeployOptions, made: Deployment) -> None:
    measure = MeasureOptions(data="digits", precision=Precision.INT8, limit=40, threads=1)
    alone = deploy_weights(dataclasses.replace(options, plans=(Precision.INT8,), measure=measure), Silent())
    assert {plan.precision for plan in alone.plans} <= {Precision.INT8}
    assert alone.report is not None
    assert {row.precision for row in alone.report.rows} == {Precision.FP32, Precision.INT8}
    assert made.bundle.folder == alone.bundle.folder


def test_the_gate_names_the_candidate_and_the_way_on(made: Deployment) -> None:
    assert made.report is not None
    worse = [
        dataclasses.replace(row, accuracy=dataclasses.replace(row.accuracy, correct=row.accuracy.correct - 100))
        if row.accuracy is not None and row.precision is Precision.INT8
        else row
        for row in made.report.rows
    ]
    lost = dataclasses.replace(made, report=dataclasses.replace(made.report, rows=tuple(worse)))
    with pytest.raises(GateError, match=r"int8: .* points of top-1 lost.*wrn-deploy tune .*bundle --data DATA"):
        check_deployment(lost)


def test_without_tensorrt_the_rest_is_made(
    options: DeployOptions, made: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, module, None)
    again = deploy_weights(dataclasses.replace(options, measure=None), Silent())
    assert (again.plans, len(again.not_built)) == ((), 1)
    assert "no TensorRT is installed" in again.not_built[0]
    assert again.bundle.folder == made.bundle.folder


def test_wrong_paths_are_found_before_any_work(options: DeployOptions, tmp_path: Path) -> None:
    export = dataclasses.replace(options.export, out=tmp_path / "new")
    wrong = dataclasses.replace(options, export=export, measure=MeasureOptions(data="nothere"))
    with pytest.raises(DeployError, match="nothere"):
        deploy_weights(wrong, Silent())
    assert not (tmp_path / "new").exists()


def test_other_precisions_are_refused(options: DeployOptions) -> None:
    with pytest.raises(UsageError, match="plans in bf16: expected fp16 or int8, or both"):
        dataclasses.replace(options, plans=(Precision.BF16,))
