"""Writing a model repository: what is in it, versions beside each other, all or nothing."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import contents
from tests.pipeline.serving.plans import add_plan
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DamagedFile, DeployError, GateError, MissingArtifact, UsageError
from wrn_deploy.manifest import MANIFEST
from wrn_deploy.pipeline.serving.models import ServeModelOptions
from wrn_deploy.pipeline.serving.repository import write_repository
from wrn_deploy.progress import Silent
from wrn_deploy.runtime.runner import Runner
from wrn_deploy.serving.config import TritonBackend
from wrn_deploy.serving.text_format import parse_config
from wrn_deploy.serving.versions import parse_triton
from wrn_deploy.spec import Precision

ON_CPU = ServeModelOptions(runner="onnxruntime")
TENSORRT = ServeModelOptions(backend=TritonBackend.TENSORRT)


def config_of(folder: Path) -> dict[str, Any]:
    return parse_config((folder / "config.pbtxt").read_text(), "config.pbtxt")


def test_the_configuration_says_what_the_manifest_says(served: Bundle, tmp_path: Path) -> None:
    written = write_repository([served], tmp_path / "models", ON_CPU, Silent())[0]
    folder = tmp_path / "models" / "wrn-10-1"
    assert (written.folder, written.version, written.changed) == (folder, 1, True)
    config = config_of(folder)
    assert config["input"] == [{"name": "images", "data_type": "TYPE_UINT8", "dims": [32, 32, 3]}]
    assert config["output"] == [
        {"name": "logits", "data_type": "TYPE_FP32", "dims": [10], "label_filename": "labels.txt"}
    ]
    assert (config["backend"], config["max_batch_size"], config["dynamic_batching"]) == ("python", 32, {})
    assert [each["batch_size"] for each in config["model_warmup"]] == [1, 32]
    assert config["version_policy"] == {"latest": {"num_versions": 1}}
    parameters = {name: entry["string_value"] for name, entry in config["parameters"].items()}
    artifact = served.artifacts["onnx-fp32"]
    assert parameters["wrn_deploy_sha256"] == written.sha256 == artifact.sha256
    assert parameters["wrn_deploy_parents"] == f"weights={artifact.recipe.parents['weights']}"
    assert (folder / "labels.txt").read_text().split() == [*served.spec.labels]


def test_a_version_is_a_bundle_that_runner_opens(served: Bundle, tmp_path: Path) -> None:
    options = dataclasses.replace(ON_CPU, precision=Precision.INT8)
    version = write_repository([served], tmp_path / "models", options, Silent())[0].folder / "1"
    assert {path.name for path in version.iterdir()} == {"manifest.json", "model.py", "int8-onnxruntime.onnx"}
    images = np.zeros((2, 32, 32, 3), np.uint8)
    with (
        Runner.open(version, precision="int8", backend="onnxruntime") as ours,
        Runner.open(served.folder, precision="int8", backend="onnxruntime") as theirs,
    ):
        assert np.array_equal(ours.predict(images), theirs.predict(images))


def test_writing_again_changes_nothing(served: Bundle, tmp_path: Path) -> None:
    write_repository([served], tmp_path / "models", ON_CPU, Silent())
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "models").rglob("*")}
    assert not write_repository([served], tmp_path / "models", ON_CPU, Silent())[0].changed
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "models").rglob("*")} == before


def test_another_artifact_is_a_new_version_beside_the_old_one(served: Bundle, tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_repository([served], models, ON_CPU, Silent())
    before = contents(models / "wrn-10-1" / "1")
    int8 = dataclasses.replace(ON_CPU, precision=Precision.INT8)
    written = write_repository([served], models, int8, Silent())[0]
    assert (written.version, written.changed) == (2, True)
    assert contents(models / "wrn-10-1" / "1") == before
    assert config_of(models / "wrn-10-1")["parameters"]["wrn_deploy_precision"]["string_value"] == "int8"


def test_other_preprocessing_is_a_new_version(served: Bundle, tmp_path: Path) -> None:
    """Of the same graph, which does not contain it: else the old mean would go on."""
    write_repository([served], tmp_path / "models", ON_CPU, Silent())
    preprocessing = dataclasses.replace(served.spec.preprocessing, mean=(0.25, 0.25, 0.25))
    served.spec = dataclasses.replace(served.spec, preprocessing=preprocessing)
    written = write_repository([served], tmp_path / "models", ON_CPU, Silent())[0]
    assert written.version == 2
    assert Bundle.open(written.folder / "2").spec.preprocessing == preprocessing


def test_other_options_change_the_configuration_alone(served: Bundle, tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_repository([served], models, ON_CPU, Silent())
    written = write_repository([served], models, dataclasses.replace(ON_CPU, instances=3), Silent())[0]
    assert (written.version, written.changed) == (1, True)
    assert config_of(models / "wrn-10-1")["instance_group"] == [{"count": 3, "kind": "KIND_CPU"}]
    assert [path.name for path in sorted((models / "wrn-10-1").iterdir())] == ["1", "config.pbtxt", "labels.txt"]


def test_a_damaged_version_is_replaced_by_a_new_one(served: Bundle, tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_repository([served], models, ON_CPU, Silent())
    (models / "wrn-10-1" / "1" / "fp32.onnx").write_bytes(b"")
    assert write_repository([served], models, ON_CPU, Silent())[0].version == 2


def test_plans_have_all_their_profiles_in_one_group(served: Bundle, tmp_path: Path) -> None:
    add_plan(served, profiles=((1, 1, 1), (2, 8, 16), (16, 64, 128)))
    options = dataclasses.replace(TENSORRT, gpus=(0, 1), instances=2, triton=parse_triton("26.07"))
    folder = write_repository([served], tmp_path / "models", options, Silent())[0].folder
    config = config_of(folder)
    assert config["max_batch_size"] == 128
    group = {"count": 2, "kind": "KIND_GPU", "gpus": [0, 1], "profile": ["0", "1", "2"]}
    assert config["instance_group"] == [group]
    assert config["default_model_filename"] == "fp16-tensorrt.plan"
    assert config["input"][0]["data_type"] == "TYPE_UINT8"


def test_graphs_for_tritons_onnx_runtime_are_normalised(served: Bundle, tmp_path: Path) -> None:
    options = ServeModelOptions(backend=TritonBackend.ONNXRUNTIME, threads=2, max_batch=8)
    config = config_of(write_repository([served], tmp_path / "models", options, Silent())[0].folder)
    assert config["input"] == [{"name": "images", "data_type": "TYPE_FP32", "dims": [3, 32, 32]}]
    assert config["parameters"]["intra_op_thread_count"] == {"string_value": "2"}
    assert (config["max_batch_size"], config["default_model_filename"]) == (8, "fp32.onnx")


@pytest.mark.parametrize(
    ("plan", "options", "words"),
    [
        ({"flavor": "tensorrt_rtx"}, TENSORRT, "TensorRT-RTX only.*--backend python --runner tensorrt_rtx"),
        ({"version": "11.4.0.106"}, dataclasses.replace(TENSORRT, triton=parse_triton("26.07")),
         "does not fit Triton 26.07, which has TensorRT 11.1.0.106.*11.4.0.106"),
        ({"profiles": ((4, 8, 32),)}, TENSORRT, "a batch of 1, .*--profile 1:8:32"),
        ({"profiles": ((1, 1, 1), (8, 8, 32))}, TENSORRT, "a batch of 2, and Triton does not pad"),
        ({"strip": True}, TENSORRT, "no weights"),
        ({}, dataclasses.replace(TENSORRT, precision=Precision.INT8), "has no plan-int8-tensorrt"),
        ({}, ServeModelOptions(backend=TritonBackend.ONNXRUNTIME, gpus=(0,), precision=Precision.INT8), "does not run"),
        ({}, ServeModelOptions(backend=TritonBackend.ONNXRUNTIME, precision=Precision.FP16), "does not run fp16"),
    ],
    ids=["rtx", "other-tensorrt", "from-4", "gap", "stripped", "missing", "int8-on-gpu", "fp16-on-cpu"],
)  # fmt: skip
def test_what_triton_cannot_run_is_refused_and_nothing_is_written(
    served: Bundle, tmp_path: Path, plan: dict[str, Any], options: ServeModelOptions, words: str
) -> None:
    add_plan(served, **plan)
    with pytest.raises(DeployError, match=words):
        write_repository([served], tmp_path / "models", options, Silent())
    assert not (tmp_path / "models").exists()


def test_a_version_compatible_plan_fits_a_later_tensorrt(served: Bundle, tmp_path: Path) -> None:
    add_plan(served, version="11.0.0.1", version_compatible=True)
    options = dataclasses.replace(TENSORRT, triton=parse_triton("26.07"))
    assert write_repository([served], tmp_path / "models", options, Silent())[0].version == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "../up"}, "--name '../up'"),
        ({"instances": 0}, "at least 1"),
        ({"gpus": (0, 0)}, "--gpus 0,0"),
        ({"runner": "onnxruntime", "backend": TritonBackend.TENSORRT}, "--runner with --backend tensorrt"),
        ({"threads": 1, "backend": TritonBackend.TENSORRT}, "--threads with --backend tensorrt"),
        ({"normalised": True, "backend": TritonBackend.ONNXRUNTIME}, "--normalised with"),
    ],
)
def test_options_that_make_no_sense_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ServeModelOptions(**changes)


@pytest.mark.parametrize(
    ("text", "words"), [("26", "expected a release"), ("26.08", "its TensorRT is unknown"), ("26.09=11", "expected a")]
)
def test_an_unknown_triton_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_triton(text)


def test_a_triton_with_its_tensorrt_needs_no_table() -> None:
    triton = parse_triton("26.09=11.4.0.106")
    assert (triton.tensorrt, triton.image) == ("11.4.0.106", "nvcr.io/nvidia/tritonserver:26.09-py3")


def test_damaged_and_stale_bundles_are_refused(served: Bundle, tmp_path: Path) -> None:
    graph = served.folder / "fp32.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    with pytest.raises(DamagedFile):
        write_repository([served], tmp_path / "models", ON_CPU, Silent())
    assert not (tmp_path / "models").exists()


def test_two_bundles_need_two_names(served: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 bundles would be the model wrn-10-1"):
        write_repository([served, served], tmp_path / "models", ON_CPU, Silent())
    named = dataclasses.replace(ON_CPU, name="second")
    write_repository([served], tmp_path / "models", ON_CPU, Silent())
    write_repository([served], tmp_path / "models", named, Silent())
    assert {path.name for path in (tmp_path / "models").iterdir()} == {".lock", "wrn-10-1", "second"}


def test_a_model_of_someone_else_is_left_alone(served: Bundle, tmp_path: Path) -> None:
    theirs = tmp_path / "models" / "wrn-10-1"
    theirs.mkdir(parents=True)
    (theirs / "config.pbtxt").write_text('backend: "onnxruntime"')
    with pytest.raises(DeployError, match="wrn-deploy did not write"):
        write_repository([served], tmp_path / "models", ON_CPU, Silent())
    (theirs / "config.pbtxt").unlink()
    with pytest.raises(DeployError, match="not a model of wrn-deploy"):
        write_repository([served], tmp_path / "models", ON_CPU, Silent())
    assert not list(theirs.iterdir())


def test_a_write_that_fails_leaves_the_model_as_it_was(
    served: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    write_repository([served], models, ON_CPU, Silent())
    before = contents(models)

    def fail(*_arguments: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fail)
    with pytest.raises(OSError, match="No space"):
        write_repository([served], models, dataclasses.replace(ON_CPU, precision=Precision.INT8), Silent())
    assert contents(models) == before
    assert not [path for path in models.iterdir() if path.name.startswith(".wrn")]


def test_what_fails_the_checks_is_not_written(served: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "wrn_deploy.pipeline.serving.placing.check_model"
    monkeypatch.setattr(module, lambda *_arguments, **_options: ("a planted problem",))
    with pytest.raises(GateError, match="a planted problem"):
        write_repository([served], tmp_path / "models", ON_CPU, Silent())
    assert {path.name for path in (tmp_path / "models").iterdir()} <= {".lock"}


def test_writers_at_the_same_time_make_one_version(served: Bundle, tmp_path: Path) -> None:
    found: list[int] = []

    def write() -> None:
        bundle = Bundle.open(served.folder)
        found.append(write_repository([bundle], tmp_path / "models", ON_CPU, Silent())[0].version)

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert found == [1] * 4


def test_a_bundle_without_its_artifact_says_what_makes_it(served: Bundle, tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match=r"wrn-deploy build-engine .* --fp16 --flavor tensorrt"):
        write_repository([served], tmp_path / "models", TENSORRT, Silent())
    assert (served.folder / MANIFEST).is_file()
