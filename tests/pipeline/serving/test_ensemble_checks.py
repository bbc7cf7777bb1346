"""`repository --ensemble` and `--check`: what is written, and each fault that is planted in an ensemble is found."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import contents
from tests.pipeline.serving.plans import add_plan
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, GateError, UsageError
from wrn_deploy.files.trust import Trust, trusting
from wrn_deploy.manifest import MANIFEST, Manifest
from wrn_deploy.pipeline.serving.check import check_repository
from wrn_deploy.pipeline.serving.folders import config_of
from wrn_deploy.pipeline.serving.models import ServeModelOptions
from wrn_deploy.pipeline.serving.repository import write_repository
from wrn_deploy.progress import Silent
from wrn_deploy.serving.config import TritonBackend
from wrn_deploy.spec import Precision

OPTIONS = ServeModelOptions(runner="onnxruntime", ensemble=True)
NETWORK, DECODE, ENSEMBLE = "wrn-10-1", "wrn-10-1-decode", "wrn-10-1-ensemble"


@pytest.fixture
def models(served: Bundle, tmp_path: Path) -> Path:
    write_repository([served], tmp_path / "models", OPTIONS, Silent())
    return tmp_path / "models"


def replace(model: str, old: str, new: str, *, last: bool = False) -> Callable[[Path], None]:
    """A fault: another text in a configuration, at its first or last place."""

    def plant(models: Path) -> None:
        file = models / model / "config.pbtxt"
        text = file.read_text()
        assert old in text
        before, _, after = text.rpartition(old) if last else text.partition(old)
        file.write_text(before + new + after)

    return plant


def remove(name: str) -> Callable[[Path], None]:
    return lambda models: shutil.rmtree(models / name) if (models / name).is_dir() else (models / name).unlink()


def change_size(models: Path) -> None:
    describe(models / DECODE / "1", height=28, width=28)


def change_mean(models: Path) -> None:
    describe(models / DECODE / "1", mean=(0.25, 0.25, 0.25))


def describe(version: Path, **changes: object) -> None:
    """The version's manifest says something else about how images are prepared."""
    bundle = Bundle.open(version)
    preprocessing = dataclasses.replace(bundle.spec.preprocessing, **changes)  # type: ignore[arg-type]
    spec = dataclasses.replace(bundle.spec, preprocessing=preprocessing)
    manifest = Manifest(model=spec, random_weights=bundle.random_weights, artifacts=bundle.artifacts)
    (version / MANIFEST).write_bytes(manifest.to_bytes())


STEP = """step {
    model_name: "wrn-10-1"
    input_map { key: "images" value: "fitted" }
    output_map { key: "logits" value: "logits" }
  }
}"""
FAULTS = {
    "missing step": (remove(DECODE), "step 1, wrn-10-1-decode, names no model of the repository"),
    "unnamed step": (replace(ENSEMBLE, 'model_name: "wrn-10-1-decode"', 'model_name: ""'), "step 1 names no model"),
    "step elsewhere": (replace(ENSEMBLE, '"wrn-10-1-decode"', '"../models/wrn-10-1"'), "names no model"),
    "unreadable step": (replace(DECODE, "max_batch_size", "max_batchsize"), "step 1, wrn-10-1-decode, has no config"),
    "missing version": (replace(ENSEMBLE, "model_version: -1", "model_version: 7"), "has no version 7"),
    "no steps": (
        lambda models: (models / ENSEMBLE / "config.pbtxt").write_text('platform: "ensemble"'),
        "an ensemble without steps",
    ),
    "no platform": (replace(ENSEMBLE, '"ensemble"', '"onnxruntime_onnx"'), 'expected "ensemble"'),
    "backend": (replace(ENSEMBLE, "platform:", 'backend: "python"\nplatform:'), "an ensemble with backend"),
    "instances": (
        replace(ENSEMBLE, "platform:", "instance_group { count: 2 }\nplatform:"),
        "an ensemble with instance_group",
    ),
    "unknown input": (
        replace(ENSEMBLE, 'key: "encoded"', 'key: "bytes"'),
        "wrn-10-1-decode, has no input bytes: expected encoded in input_map",
    ),
    "missing input": (
        replace(ENSEMBLE, 'key: "encoded"', 'key: "bytes"'),
        "wrn-10-1-decode, gets no encoded: expected it in input_map",
    ),
    "unknown output": (
        replace(ENSEMBLE, 'key: "logits"', 'key: "scores"'),
        "step 2, wrn-10-1, has no output scores: expected logits in output_map",
    ),
    "unwritten tensor": (
        replace(ENSEMBLE, 'value: "fitted"', 'value: "pixels"', last=True),
        "step 2, wrn-10-1, reads pixels, which no input and no step before it writes",
    ),
    "unwritten output": (replace(ENSEMBLE, 'value: "logits"', 'value: "scores"'), "no step writes the output logits"),
    "written twice": (replace(ENSEMBLE, "  }\n}", "  }\n  " + STEP), "step 3, wrn-10-1, writes logits again"),
    "type of the input": (
        replace(ENSEMBLE, "TYPE_UINT8", "TYPE_STRING"), "reads encoded as TYPE_STRING: expected TYPE_UINT8",
    ),
    "type between steps": (
        replace(DECODE, "TYPE_UINT8", "TYPE_FP32", last=True),
        "step 2, wrn-10-1, reads fitted as TYPE_FP32: expected TYPE_UINT8",
    ),
    "dims between steps": (
        replace(DECODE, "[32, 32, 3]", "[3, 32, 32]"),
        "step 2, wrn-10-1, reads fitted with dims [3, 32, 32]: expected [32, 32, 3]",
    ),
    "dims of the output": (
        replace(ENSEMBLE, "dims: [10]", "dims: [11]"), "the output logits comes with dims [10]: expected [11]",
    ),
    "larger batches": (
        replace(ENSEMBLE, "max_batch_size: 32", "max_batch_size: 64"),
        "max_batch_size 64 is above the 32 of step 1, wrn-10-1-decode: expected at most that",
    ),
    "no version": (remove(f"{ENSEMBLE}/1"), f"{ENSEMBLE}: it has no version"),
    "no manifest": (remove(f"{DECODE}/1/manifest.json"), "is not a bundle"),
    "no program": (remove(f"{DECODE}/1/model.py"), f"{DECODE}: version 1 has no model.py: write the model again"),
    "other program": (replace(DECODE, '"model.py"', '"net.py"'), "version 1 runs net.py: expected model.py"),
    "other images": (change_size, "expected pixels, TYPE_UINT8 [28, 28, 3], or normalised images, TYPE_FP32"),
    "other preprocessing": (change_mean, "its steps prepare images in different ways"),
    "no labels": (remove(f"{ENSEMBLE}/labels.txt"), "labels.txt, the labels of logits, is missing"),
}  # fmt: skip


@pytest.mark.parametrize(("plant", "words"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_found(models: Path, plant: Callable[[Path], None], words: str) -> None:
    assert [each.name for each in check_repository(models)] == [NETWORK, DECODE, ENSEMBLE]
    plant(models)
    with pytest.raises(GateError) as caught:
        check_repository(models)
    assert words in str(caught.value)


def test_a_circle_of_steps_is_found(models: Path) -> None:
    replace(ENSEMBLE, 'value: "encoded"', 'value: "logits"')(models)
    with pytest.raises(GateError, match="wrn-10-1-decode, reads logits, which no input and no step before it writes"):
        check_repository(models)


def test_the_ensemble_takes_bytes_and_gives_what_the_network_gives(models: Path) -> None:
    config = config_of(models / ENSEMBLE)
    assert config["input"] == [{"name": "encoded", "data_type": "TYPE_UINT8", "dims": [-1]}]
    assert config["output"] == config_of(models / NETWORK)["output"]
    steps = config["ensemble_scheduling"]["step"]
    assert [step["model_name"] for step in steps] == [DECODE, NETWORK]
    assert config_of(models / DECODE)["output"] == [{**config_of(models / NETWORK)["input"][0]}]
    assert {path.name for path in (models / DECODE / "1").iterdir()} == {"manifest.json", "model.py"}


def test_writing_again_changes_nothing(served: Bundle, models: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in models.rglob("*")}
    written = write_repository([served], models, OPTIONS, Silent())[0]
    assert (written.changed, written.ensemble) == (False, ENSEMBLE)
    assert {path: path.stat().st_mtime_ns for path in models.rglob("*")} == before


def test_without_the_option_there_is_none(served: Bundle, tmp_path: Path) -> None:
    options = dataclasses.replace(OPTIONS, ensemble=False)
    assert write_repository([served], tmp_path / "models", options, Silent())[0].ensemble is None
    assert {path.name for path in (tmp_path / "models").iterdir()} == {".lock", NETWORK}


def test_an_ensemble_that_is_there_is_kept_up_to_date(served: Bundle, models: Path) -> None:
    """Else the step would prepare images for the network as it was."""
    describe(served.folder, mean=(0.25, 0.25, 0.25))
    changed = Bundle.open(served.folder)
    with pytest.raises(GateError, match="prepares images in another way than"):
        check_repository(models, [changed])
    options = dataclasses.replace(OPTIONS, ensemble=False)
    written = write_repository([changed], models, options, Silent())[0]
    assert (written.version, written.changed, written.ensemble) == (2, True, ENSEMBLE)
    checked = {each.name: each.version for each in check_repository(models, [changed])}
    assert checked == {NETWORK: 2, DECODE: 2, ENSEMBLE: 1}


def test_an_ensemble_of_someone_else_is_left_alone(served: Bundle, tmp_path: Path) -> None:
    theirs = tmp_path / "models" / ENSEMBLE
    (theirs / "1").mkdir(parents=True)
    (theirs / "config.pbtxt").write_text('platform: "ensemble"')
    before = contents(theirs)
    options = dataclasses.replace(OPTIONS, ensemble=False)
    assert write_repository([served], tmp_path / "models", options, Silent())[0].ensemble is None
    with pytest.raises(DeployError, match="wrn-deploy did not write"):
        write_repository([served], tmp_path / "models", OPTIONS, Silent())
    assert contents(theirs) == before


def test_a_name_that_a_step_would_have_is_refused(served: Bundle, tmp_path: Path) -> None:
    other = Bundle.open(served.folder)
    other.spec = dataclasses.replace(other.spec, name=DECODE)
    with pytest.raises(UsageError, match=f"2 bundles would be the model {DECODE}"):
        write_repository([served, other], tmp_path / "models", OPTIONS, Silent())


@pytest.mark.parametrize("backend", [TritonBackend.TENSORRT, TritonBackend.ONNXRUNTIME])
def test_it_fits_networks_of_tritons_own_backends(served: Bundle, tmp_path: Path, backend: TritonBackend) -> None:
    """A plan that takes pixels; a graph that takes normalised images."""
    add_plan(served)
    precision = Precision.INT8 if backend is TritonBackend.ONNXRUNTIME else None
    options = ServeModelOptions(backend=backend, precision=precision, ensemble=True)
    write_repository([served], tmp_path / "models", options, Silent())
    (entry,) = config_of(tmp_path / "models" / DECODE)["output"]
    pixels = backend is TritonBackend.TENSORRT
    assert (entry["data_type"], entry["dims"]) == (
        ("TYPE_UINT8", [32, 32, 3]) if pixels else ("TYPE_FP32", [3, 32, 32])
    )
    assert len(check_repository(tmp_path / "models", [served])) == 3


def test_an_unsigned_step_fails_if_a_signature_is_demanded(models: Path, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("nobody's")
    with (
        trusting(Trust(signed_by=tmp_path / "key.pem")),
        pytest.raises(GateError, match=rf"{DECODE}: version 1: .*sign"),
    ):
        check_repository(models)
