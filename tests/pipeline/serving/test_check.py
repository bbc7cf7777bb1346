"""`repository --check`: each fault that is planted in a repository is found and named."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipeline.serving.plans import add_plan
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, GateError, UsageError
from wrn_deploy.files.trust import Trust, trusting
from wrn_deploy.manifest import MANIFEST, Manifest
from wrn_deploy.pipeline.serving.check import check_repository
from wrn_deploy.pipeline.serving.models import ServeModelOptions
from wrn_deploy.pipeline.serving.repository import write_repository
from wrn_deploy.progress import Silent
from wrn_deploy.serving.config import TritonBackend
from wrn_deploy.serving.versions import parse_triton
from wrn_deploy.spec import Precision


def replace(old: str, new: str) -> Callable[[Path], None]:
    """A fault: another text in the configuration."""

    def plant(model: Path) -> None:
        text = (model / "config.pbtxt").read_text()
        assert old in text
        (model / "config.pbtxt").write_text(text.replace(old, new, 1))

    return plant


def remove(name: str) -> Callable[[Path], None]:
    return lambda model: (model / name).unlink()


def damage(model: Path) -> None:
    file = next((model / "1").glob("*.plan"))
    file.write_bytes(file.read_bytes()[:-1])


def make_stale(model: Path) -> None:
    """The version's manifest says that the plan was made from another graph than it lists."""
    bundle = Bundle.open(model / "1")
    graph = dataclasses.replace(bundle.artifacts["onnx-fp32"], sha256="0" * 64)
    manifest = Manifest(model=bundle.spec, random_weights=False, artifacts={**bundle.artifacts, graph.key: graph})
    (model / "1" / MANIFEST).write_bytes(manifest.to_bytes())


def swap_plan(**facts: object) -> Callable[[Path], None]:
    """The version gets a plan with other facts, and the configuration its digest: only the facts are wrong."""

    def plant(model: Path) -> None:
        bundle = Bundle.open(model / "1")
        before = bundle.artifacts["plan-fp16-tensorrt"]
        changed = dataclasses.replace(before, facts={**before.facts, **facts})
        manifest = Manifest(
            model=bundle.spec, random_weights=False, artifacts={**bundle.artifacts, changed.key: changed}
        )
        (model / "1" / MANIFEST).write_bytes(manifest.to_bytes())

    return plant


FAULTS = {
    "unknown field": (replace("max_batch_size", "max_batchsize"), "ModelConfig has no field 'max_batchsize'"),
    "wrong type": (replace("TYPE_UINT8", "UINT8"), "data_type is UINT8: expected one of"),
    "profile as a number": (replace('profile: ["0"]', "profile: [0]"), "profile: a text in quotes"),
    "batch in dims": (replace("dims: [32, 32, 3]", "dims: [8, 32, 32, 3]"), "with the batch: expected [32, 32, 3]"),
    "other dims": (replace("dims: [32, 32, 3]", "dims: [3, 32, 32]"), "images has dims [3, 32, 32]"),
    "other type": (replace("TYPE_UINT8", "TYPE_FP32"), "images is TYPE_FP32: expected TYPE_UINT8"),
    "other output": (replace('"logits"', '"probabilities"'), "outputs probabilities: expected logits"),
    "preferred above max": (
        replace("dynamic_batching { }", "dynamic_batching { preferred_batch_size: [8, 64] }"),
        "preferred_batch_size 64 is above max_batch_size 32",
    ),
    "queue policy": (
        replace("dynamic_batching { }", "dynamic_batching { default_queue_policy { max_queue_size: 64 } }"),
        "default_queue_policy stalls",
    ),
    "no batches": (replace("max_batch_size: 32", "max_batch_size: 0"), "dynamic_batching with max_batch_size 0"),
    "larger batches": (replace("max_batch_size: 32", "max_batch_size: 64"), "above the plan's largest batch 32"),
    "no backend": (replace('backend: "tensorrt"\n', ""), "no backend: expected one of tensorrt"),
    "other backend": (replace('"tensorrt"', '"onnxruntime"'), "backend onnxruntime cannot run fp16-tensorrt.plan"),
    "other name": (replace('name: "wrn-10-1"', 'name: "wrn"'), "its name is 'wrn'"),
    "other file": (replace("fp16-tensorrt.plan", "model.plan"), "runs model.plan: expected fp16-tensorrt.plan"),
    "other profile": (replace('profile: ["0"]', 'profile: ["1"]'), "has profiles ['1']: expected ['0']"),
    "on the CPU": (replace("KIND_GPU", "KIND_CPU"), "backend tensorrt on the CPU"),
    "other digest": (lambda model: replace(_digest(model), "0" * 64)(model), "it is stale; write the model again"),
    "no labels": (remove("labels.txt"), "labels.txt, the labels of logits, is missing"),
    "other labels": (lambda model: (model / "labels.txt").write_text("a\nb\n"), "does not have the bundle's 10 labels"),
    "no configuration": (remove("config.pbtxt"), "config.pbtxt is missing"),
    "no version": (lambda model: shutil.rmtree(model / "1"), "it has no version"),
    "no manifest": (remove("1/manifest.json"), "is not a bundle"),
    "damaged": (damage, "is not the file that the manifest describes"),
    "stale": (make_stale, "plan-fp16-tensorrt was made from onnx-fp32"),
    "RTX plan": (swap_plan(flavor="tensorrt_rtx"), "is a TensorRT-RTX plan"),
    "other TensorRT": (swap_plan(version="11.4.0.106"), "does not fit Triton 26.07"),
    "no weights": (swap_plan(strip=True), "has no weights"),
    "profiles from 4": (
        swap_plan(profiles=[{"minimum": 4, "optimum": 8, "maximum": 32}]), "does not take a batch of 1",
    ),
}  # fmt: skip


def _digest(model: Path) -> str:
    return Bundle.open(model / "1").artifacts["plan-fp16-tensorrt"].sha256


@pytest.fixture
def models(served: Bundle, tmp_path: Path) -> Path:
    """A repository with a plan for Triton 26.07."""
    add_plan(served)
    write_repository([served], tmp_path / "models", ServeModelOptions(backend=TritonBackend.TENSORRT), Silent())
    return tmp_path / "models"


@pytest.mark.parametrize(("plant", "words"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_found(models: Path, plant: Callable[[Path], None], words: str) -> None:
    triton = parse_triton("26.07")
    assert check_repository(models, (), triton)[0].version == 1
    plant(models / "wrn-10-1")
    with pytest.raises(GateError) as caught:
        check_repository(models, (), triton)
    assert words in str(caught.value)
    assert "wrn-10-1: " in str(caught.value)


def test_the_runner_of_the_python_backend_must_exist(served: Bundle, tmp_path: Path) -> None:
    write_repository([served], tmp_path / "models", ServeModelOptions(runner="onnxruntime"), Silent())
    replace('"onnxruntime"', '"nobody"')(tmp_path / "models" / "wrn-10-1")
    with pytest.raises(GateError, match="runner is nobody: expected one of"):
        check_repository(tmp_path / "models")
    (tmp_path / "models" / "wrn-10-1" / "1" / "model.py").unlink()
    with pytest.raises(GateError, match=r"version 1 has no model\.py"):
        check_repository(tmp_path / "models")


def test_a_model_of_another_artifact_than_its_bundle_has_now_is_stale(served: Bundle, models: Path) -> None:
    assert check_repository(models, [served])[0].ours
    add_plan(served, compute_capability="9.0")
    check_repository(models, [served])
    with served.transaction() as step:
        plan = served.artifacts["plan-fp16-tensorrt"]
        step.file(plan.path).write_bytes(b"ftrt" + bytes(200))
        step.add(plan.key, kind=plan.kind, precision=plan.precision, path=plan.path, recipe=plan.recipe,
                 facts=plan.facts)  # fmt: skip
    with pytest.raises(GateError, match=r"wrn-10-1 is stale: it has plan-fp16-tensorrt .* run `wrn-deploy repository"):
        check_repository(models, [served])


def test_a_bundle_without_a_model_is_an_error(served: Bundle, models: Path) -> None:
    served.spec = dataclasses.replace(served.spec, name="another")
    with pytest.raises(UsageError, match="no model of another"):
        check_repository(models, [served])


def test_an_unsigned_model_fails_if_a_signature_is_demanded(models: Path, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("nobody's")
    with trusting(Trust(signed_by=tmp_path / "key.pem")), pytest.raises(GateError, match=r"version 1: .*sign"):
        check_repository(models)


def test_models_of_others_are_checked_by_tritons_rules_alone(models: Path) -> None:
    (models / "theirs" / "1").mkdir(parents=True)
    (models / "theirs" / "config.pbtxt").write_text('backend: "onnxruntime" max_batch_size: 4')
    assert [(model.name, model.ours) for model in check_repository(models)] == [("theirs", False), ("wrn-10-1", True)]
    (models / "theirs" / "config.pbtxt").write_text(
        'backend: "onnxruntime" max_batch_size: 4 dynamic_batching { preferred_batch_size: 8 } '
        "instance_group { kind: KIND_CPU gpus: 0 }"
    )
    with pytest.raises(GateError, match="fails 2 checks"):
        check_repository(models)


def test_a_folder_without_models_is_an_error(tmp_path: Path) -> None:
    for folder in (tmp_path / "missing", tmp_path):
        with pytest.raises(DeployError, match="has no models"):
            check_repository(folder)


def test_int8_graphs_pass(served: Bundle, tmp_path: Path) -> None:
    options = ServeModelOptions(backend=TritonBackend.ONNXRUNTIME, precision=Precision.INT8)
    write_repository([served], tmp_path / "models", options, Silent())
    assert check_repository(tmp_path / "models", [served])[0].version == 1
