"""The proof within a build: reported, kept in the manifest, and a gate that leaves the bundle as it was."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from typing import Any

import pytest

from tests.cli.conftest import contents
from tests.pipeline.quantization.test_calibrate import Noted
from wrn_deploy.bundle import Bundle
from wrn_deploy.engines import build as engine
from wrn_deploy.engines.build import BuiltPlan
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.engines.options import EngineOptions
from wrn_deploy.errors import GateError
from wrn_deploy.machine import find_gpu
from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
from wrn_deploy.pipeline.engines.proof import as_percent
from wrn_deploy.progress import Silent
from wrn_deploy.spec import Precision

pytestmark = pytest.mark.skipif(Flavor.RTX not in installed_flavors(), reason="TensorRT-RTX is not installed")
no_gpu = pytest.mark.skipif(find_gpu() is not None, reason="with a GPU the inspector is asked, not the log")
INT8 = BuildOptions(precision=Precision.INT8, engine=EngineOptions(), flavor=Flavor.RTX, rebuild=True)


@no_gpu
@pytest.mark.parametrize("precision", [Precision.FP16, Precision.INT8])
def test_a_build_proves_its_precision_without_a_gpu(bundle: Bundle, precision: Precision) -> None:
    progress = Noted()
    plan = build_engine(bundle, dataclasses.replace(INT8, precision=precision), progress)
    proof = Bundle.open(bundle.folder).artifacts[plan.key].facts["precision"]
    assert proof["source"] == "builder log"
    assert proof["shares"] == proof["expected"]
    assert proof["shares"][precision] > 0.99
    assert (proof["higher_precision"], proof["unknown"]) == ([], [])
    assert proof["layers"] > proof["reformats"] >= 0
    (note,) = progress.notes
    assert re.search(rf"% {precision}.*\(proved by the layers that the builder printed; \d+ layers, \d+ of", note)
    assert progress.warnings == []


def changed(monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """The real build, after which the lists of layers read as if the engine were another one."""
    real = engine.build_plan

    def build(*arguments: Any) -> BuiltPlan:
        plan = real(*arguments)
        lists = tuple(re.sub(old, new, message) for message in plan.layer_lists)
        assert lists != plan.layer_lists
        return dataclasses.replace(plan, layer_lists=lists)

    monkeypatch.setattr("wrn_deploy.engines.build.build_plan", build)


@no_gpu
def test_a_higher_precision_than_expected_fails_and_leaves_the_bundle_as_it_was(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One Conv of the engine's list takes halves: the planted fault."""
    before = contents(bundle.folder)
    changed(monkeypatch, r"(Name: block1\.0\.conv2_U.*?Inputs: .*?Datatype: )Int8", r"\1Half")
    with pytest.raises(
        GateError, match=r"In more bits than expected: block1\.0\.conv2 \(fp16 instead of int8\)"
    ) as error:
        build_engine(bundle, INT8, Silent())
    assert error.value.exit_code == 3
    assert f"`wrn-deploy lint {bundle.folder / 'int8-tensorrt.onnx'}`" in str(error.value)
    assert contents(bundle.folder) == before


@no_gpu
def test_without_layers_what_the_graph_asks_for_is_not_called_proved(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(monkeypatch, "Layers:\n", "Nothing:\n")
    progress = Noted()
    plan = build_engine(bundle, INT8, progress)
    assert plan.facts["precision"]["source"] == "graph"
    assert plan.facts["precision"]["shares"]["int8"] > 0.99
    assert plan.facts["precision"]["layers"] is None
    assert "requested by the graph, not proved" in progress.notes[-1]


@no_gpu
def test_a_layer_that_cannot_be_found_is_warned_of(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    changed(monkeypatch, r"block1\.0\.conv2", "else")
    progress = Noted()
    plan = build_engine(bundle, INT8, progress)
    assert plan.facts["precision"]["unknown"] == ["block1.0.conv2"]
    assert progress.warnings == ["not found in the engine, so not proved: block1.0.conv2"]


def test_without_onnx_ir_nothing_is_claimed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnx_ir" else real(name))
    progress = Noted()
    plan = build_engine(bundle, dataclasses.replace(INT8, pixels=False), progress)
    assert plan.facts["precision"] == {"source": "none", "shares": {}, "expected": {}}
    assert "precision not proved" in progress.warnings[-1]


@pytest.mark.gpu
def test_on_a_gpu_the_inspector_proves_it(bundle: Bundle) -> None:
    plan = build_engine(bundle, INT8, Silent())
    assert plan.facts["precision"]["source"] == "inspector"
    assert plan.facts["precision"]["shares"]["int8"] > 0.99


@pytest.mark.parametrize(
    ("shares", "text"),
    [
        ({"fp16": 0.00018, "int8": 0.99982}, ">99.9 % int8, <0.1 % fp16"),
        ({"int8": 1.0}, "100.0 % int8"),
        ({"int8": 0.75, "fp16": 0.25}, "75.0 % int8, 25.0 % fp16"),
        ({}, "not known"),
    ],
)
def test_shares_as_text(shares: dict[str, float], text: str) -> None:
    assert as_percent(shares) == text
