"""The fp8 step: what it adds to a calibrated bundle, when it does it again, and what TensorRT-RTX makes of it."""

from __future__ import annotations

import dataclasses

import pytest

from tests.manifests import edit_manifest
from tests.pipeline.quantization.test_calibrate import Noted
from wrn_deploy.bundle import Bundle
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.engines.options import EngineOptions
from wrn_deploy.errors import DeployError
from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.quantization.fp8 import FP8_GRAPH, add_fp8
from wrn_deploy.pipeline.quantization.lint import lint_file
from wrn_deploy.progress import Silent
from wrn_deploy.spec import Precision

OPTIONS = CalibrateOptions(data="digits", size=128)
has_rtx = pytest.mark.skipif(Flavor.RTX not in installed_flavors(), reason="no TensorRT-RTX")


def test_the_graph_stands_beside_those_of_int8_and_tells_how_it_was_made(bundle: Bundle) -> None:
    before, progress = dict(bundle.artifacts), Noted()
    added = add_fp8(bundle, OPTIONS, progress)
    there = Bundle.open(bundle.folder).artifacts
    assert there == {**before, FP8_GRAPH: added}
    assert (added.path, added.precision) == ("fp8-tensorrt.onnx", Precision.FP8)
    assert set(added.recipe.parents) == {"calibration", "onnx-fp32", "onnx-fp16"}
    assert added.facts == {"experimental": True}
    (note,) = progress.notes
    assert note.startswith("onnx-fp8-tensorrt: same argmax as fp32 on ")
    assert int(note.split()[-5]) >= 30


def test_it_is_made_once_for_a_table(bundle: Bundle) -> None:
    first, progress = add_fp8(bundle, OPTIONS, Silent()), Noted()
    assert add_fp8(bundle, OPTIONS, progress) == first
    assert progress.notes == [f"{bundle.folder}: the fp8 graph is up to date"]


def test_another_table_makes_it_stale_until_it_is_made_anew(bundle: Bundle) -> None:
    old = add_fp8(bundle, OPTIONS, Silent())
    other = dataclasses.replace(OPTIONS, method="max")
    calibrate_bundle(bundle, other, Silent())
    with pytest.raises(DeployError, match="wrn-deploy calibrate B --fp8"):
        bundle.find(FP8_GRAPH, "wrn-deploy calibrate B --fp8")
    table = bundle.artifacts["calibration"].sha256
    assert add_fp8(bundle, other, Silent()).recipe.parents["calibration"] == table
    assert old.recipe.parents["calibration"] != table
    bundle.find(FP8_GRAPH, "")


def test_a_bundle_without_a_table_says_which_command_makes_it(bundle: Bundle) -> None:
    edit_manifest(bundle.folder, lambda record: record["artifacts"].pop("calibration"))
    bundle = Bundle.open(bundle.folder)
    with pytest.raises(DeployError, match=r"wrn-deploy calibrate .* --calib-data digits --fp8"):
        add_fp8(bundle, OPTIONS, Silent())


def test_the_lint_says_that_it_knows_no_fp8(bundle: Bundle) -> None:
    graph = bundle.folder / add_fp8(bundle, OPTIONS, Silent()).path
    with pytest.raises(DeployError, match=r"fp8-tensorrt.onnx has fp8 codes: expected int8, the only codes"):
        lint_file(graph, None)


@has_rtx
def test_rtx_computes_every_conv_but_the_first_in_fp8(bundle: Bundle) -> None:
    """Found in the layers that the builder lists: no GPU is needed, and none says what a kernel will be."""
    add_fp8(bundle, OPTIONS, Silent())
    plan = build_engine(
        bundle, BuildOptions(precision=Precision.FP8, engine=EngineOptions(), flavor=Flavor.RTX), Silent()
    )
    proved = plan.facts["precision"]
    assert plan.precision is Precision.FP8
    assert proved["shares"] == proved["expected"]
    assert proved["shares"]["fp8"] > 0.9
    assert set(proved["shares"]) == {"fp8", "fp16"}
    assert proved["higher_precision"] == proved["unknown"] == []


@has_rtx
def test_a_gpu_without_fp8_is_said_to_lack_it(bundle: Bundle) -> None:
    add_fp8(bundle, OPTIONS, Silent())
    options = BuildOptions(
        precision=Precision.FP8, engine=EngineOptions(compute_capabilities=("SM86",)), flavor=Flavor.RTX
    )
    with pytest.raises(DeployError, match="a target GPU lacks a type: fp8 needs SM89 or later"):
        build_engine(bundle, options, Silent())


@has_rtx
def test_rtx_computes_a_bf16_graph_in_bf16(bundle: Bundle) -> None:
    export_bundle(
        ExportOptions(model="wrn-10-1", out=bundle.folder, weights=bundle.folder / "weights.safetensors", bf16=True),
        Silent(),
    )
    made = Bundle.open(bundle.folder)
    plan = build_engine(
        made, BuildOptions(precision=Precision.BF16, engine=EngineOptions(), flavor=Flavor.RTX), Silent()
    )
    assert plan.precision is Precision.BF16
    assert plan.facts["precision"]["shares"] == {"bf16": 1.0}
