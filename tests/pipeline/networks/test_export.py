"""The export step: what a bundle holds, when it is made again, and that a failed gate leaves no trace."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.manifests import edit_manifest
from wrn_deploy.bundle import Bundle, sha256_of
from wrn_deploy.errors import DeployError, GateError, MachineError, UsageError
from wrn_deploy.export import check, graph, half
from wrn_deploy.models import Overrides, build_model, describe_model
from wrn_deploy.models.checkpoints.weights import read_weights, write_weights
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle, probe_images
from wrn_deploy.progress import Silent
from wrn_deploy.runtime.sessions import infer_with, open_session
from wrn_deploy.spec import ModelSpec, Precision

Tamper = Callable[[ir.Model], None]
FILES = {"manifest.json", "weights.safetensors", "fp32.onnx", "fp16.onnx", ".lock"}


def _random(out: Path, seed: int = 0, **changes: Any) -> Bundle:
    return export_bundle(ExportOptions(model="wrn-10-1", out=out, random_weights=True, seed=seed, **changes), Silent())


@pytest.fixture(scope="module", autouse=True)
def _once() -> Iterator[None]:
    """Exporting takes a second: equal networks are exported once."""
    export = graph.export_graph
    done: dict[str, ir.Model] = {}

    def export_once(network: nn.Module, spec: ModelSpec) -> ir.Model:
        parts = (tensor.numpy().tobytes() for tensor in network.state_dict().values())
        key = hashlib.sha256(b"".join((repr(spec).encode(), *parts))).hexdigest()
        if key not in done:
            done[key] = export(network, spec)
        return done[key].clone()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "export_graph", export_once)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of random weights, which a test copies."""
    return _random(tmp_path_factory.mktemp("made") / "bundle").folder


@pytest.fixture
def old(made: Path, tmp_path: Path) -> Path:
    """A bundle that is there already."""
    return Path(shutil.copytree(made, tmp_path / "old"))


def _state(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir() if path.name != ".lock"
    }


class Listening(Silent):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_bundle_has_weights_both_graphs_and_a_manifest_that_tells_of_them(made: Path) -> None:
    assert {path.name for path in made.iterdir()} == FILES
    bundle = Bundle.open(made)
    assert {key: artifact.path for key, artifact in bundle.artifacts.items()} == {
        "weights": "weights.safetensors",
        "onnx-fp32": "fp32.onnx",
        "onnx-fp16": "fp16.onnx",
    }
    weights, fp32, half = (bundle.artifacts[key] for key in ("weights", "onnx-fp32", "onnx-fp16"))
    assert fp32.recipe.parents == {"weights": weights.sha256}
    assert half.recipe.parents == {"onnx-fp32": fp32.sha256}
    assert {"wrn-deploy", "torch", "onnxscript", "onnx-ir"} <= set(fp32.recipe.tools)
    for artifact in bundle.artifacts.values():
        assert sha256_of(bundle.file(artifact)) == artifact.sha256
    for artifact in (fp32, half):
        assert [parity["batch"] for parity in artifact.facts["parity"]] == [1, 3, 64]


def test_a_bf16_graph_is_added_where_asked_for_and_leaves_the_others_as_they_were(old: Path, made: Path) -> None:
    _random(old, bf16=True)
    bundle, before = Bundle.open(old), Bundle.open(made)
    added = bundle.artifacts["onnx-bf16"]
    assert set(bundle.artifacts) == {*before.artifacts, "onnx-bf16"}
    assert all(bundle.artifacts[key].sha256 == artifact.sha256 for key, artifact in before.artifacts.items())
    assert (added.path, added.precision) == ("bf16.onnx", Precision.BF16)
    assert added.recipe.parents == {"onnx-fp32": bundle.artifacts["onnx-fp32"].sha256}
    assert [parity["batch"] for parity in added.facts["parity"]] == [1, 3, 64]
    assert added.facts["parity_of"].startswith("the graph in fp32, each result rounded to bf16")


def test_a_bf16_graph_that_is_up_to_date_is_not_made_again(old: Path) -> None:
    _random(old, bf16=True)
    before, progress = _state(old), Listening()
    export_bundle(ExportOptions(model="wrn-10-1", out=old, random_weights=True, bf16=True), progress)
    _random(old)  # without it, there is nothing to do either
    assert _state(old) == before
    assert progress.notes == [f"{old}: weights, fp32, fp16 and bf16 graphs are up to date"]


def test_a_wrong_bf16_graph_is_stopped(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert = half.convert_bf16

    def wrong(model: ir.Model) -> ir.Model:
        tampered = model.clone()
        _perturbed("fc.weight")(tampered)
        return convert(tampered)

    monkeypatch.setattr(half, "convert_bf16", wrong)
    before = _state(old)
    with pytest.raises(GateError, match="the bf16 graph does not compute what PyTorch computes"):
        _random(old, bf16=True)
    assert _state(old) == before


def test_trained_weights_go_through_unchanged(made_bundle: Path, trained: Path) -> None:
    bundle = Bundle.open(made_bundle)
    assert not bundle.random_weights
    source, kept = (read_weights(folder / "weights.safetensors") for folder in (trained, made_bundle))
    assert bundle.spec == source.spec == kept.spec
    assert bundle.spec.labels == tuple("0123456789")
    assert bundle.artifacts["weights"].recipe.options["file_sha256"] == sha256_of(trained / "weights.safetensors")
    for key, tensor in source.tensors.items():
        assert key.endswith("num_batches_tracked") or torch.equal(kept.tensors[key], tensor)


def test_a_real_checkpoint_is_exported_with_parity(shared_data: Path, tmp_path: Path) -> None:
    weights = shared_data / "checkpoints" / "wrn-16-2-cifar10.pth"
    bundle = export_bundle(ExportOptions(model="wrn-16-2", out=tmp_path / "bundle", weights=weights), Silent())
    for key, least in (("onnx-fp32", 64), ("onnx-fp16", 63)):
        assert bundle.artifacts[key].facts["parity"][-1]["argmax_equal"] >= least
    with np.load(shared_data / "cifar10" / "test-exact-1017.npz") as arrays:
        images, labels = arrays["images"], arrays["labels"]
    preprocessing = bundle.spec.preprocessing
    batch = ((images / 255.0 - preprocessing.mean) / preprocessing.std).astype(np.float32).transpose(0, 3, 1, 2)
    found = infer_with(open_session(bundle.file(bundle.artifacts["onnx-fp32"])))(np.ascontiguousarray(batch))
    assert int((found.argmax(1) == labels).sum()) == 955


def test_what_is_reported_are_the_figures_of_the_manifest(tmp_path: Path) -> None:
    progress = Listening()
    bundle = export_bundle(ExportOptions(model="wrn-10-1", out=tmp_path / "bundle", random_weights=True), progress)
    for precision, note in zip(("fp32", "fp16"), progress.notes, strict=True):
        parities = bundle.artifacts[f"onnx-{precision}"].facts["parity"]
        assert note.startswith(f"{precision}: largest error ")
        assert f"cosine at least {min(parity['cosine'] for parity in parities):.6f}" in note
        assert note.endswith(f"same argmax on {sum(parity['argmax_equal'] for parity in parities)} of 68")


def test_random_weights_are_marked(made: Path) -> None:
    assert json.loads((made / "manifest.json").read_text())["random_weights"] is True
    assert Bundle.open(made).random_weights


def test_a_seed_gives_the_same_bytes_in_another_process_and_folder(made: Path, tmp_path: Path) -> None:
    code = "import sys; from wrn_deploy.cli import main; sys.argv[0] = 'wrn-deploy'; main()"
    command = [sys.executable, "-c", code, "export", "wrn-10-1", "--random-weights", "--out", "elsewhere"]
    environment = {"PYTHONHASHSEED": "123", "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    path = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    subprocess.run(command, cwd=tmp_path, env={**environment, **path}, check=True, capture_output=True)
    for name in ("weights.safetensors", "fp32.onnx", "fp16.onnx"):
        assert (tmp_path / "elsewhere" / name).read_bytes() == (made / name).read_bytes(), name


def test_another_seed_gives_other_weights(made: Path, tmp_path: Path) -> None:
    other = _random(tmp_path / "other", seed=1)
    assert other.artifacts["weights"].sha256 != Bundle.open(made).artifacts["weights"].sha256


@pytest.mark.parametrize(
    "options", [{"weights": None, "random_weights": False}, {"weights": Path("w.pth"), "random_weights": True}]
)
def test_either_weights_or_random_ones_must_be_asked_for(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected --weights FILE, or --random-weights for speed tests") as error:
        export_bundle(ExportOptions(model="wrn-10-1", out=tmp_path / "bundle", **options), Silent())
    assert error.value.exit_code == 2
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("seed", [-1, 2**63, 10**30])
def test_a_seed_that_torch_cannot_take_is_refused(tmp_path: Path, seed: int) -> None:
    with pytest.raises(UsageError, match=f"seed {seed}: expected 0 to"):
        _random(tmp_path / "bundle", seed)


def test_a_second_export_rewrites_nothing(old: Path) -> None:
    before, progress = _state(old), Listening()
    bundle = export_bundle(ExportOptions(model="wrn-10-1", out=old, random_weights=True), progress)
    assert _state(old) == before
    assert progress.notes == [f"{old}: weights, fp32 and fp16 graphs are up to date"]
    assert bundle.artifacts == Bundle.open(old).artifacts


def test_the_same_weights_from_another_place_are_up_to_date(trained: Path, tmp_path: Path) -> None:
    weights = trained / "weights.safetensors"
    export_bundle(ExportOptions(model="wrn-10-1", out=tmp_path / "bundle", weights=weights), Silent())
    before = _state(tmp_path / "bundle")
    moved = Path(shutil.copy(weights, tmp_path / "moved.safetensors"))
    export_bundle(ExportOptions(model="wrn-10-1", out=tmp_path / "bundle", weights=moved), Silent())
    assert _state(tmp_path / "bundle") == before


@pytest.mark.parametrize(
    "changes", [{"seed": 5}, {"overrides": Overrides(labels=tuple("abcdefghij"))}, {"overrides": Overrides(resize=40)}]
)
def test_other_weights_or_another_description_are_exported_anew(old: Path, changes: dict[str, Any]) -> None:
    before = Bundle.open(old)
    _random(old, **changes)
    after = Bundle.open(old)
    assert after.artifacts["weights"].sha256 != before.artifacts["weights"].sha256
    assert after.artifacts["onnx-fp16"].recipe.parents == {"onnx-fp32": after.artifacts["onnx-fp32"].sha256}
    for artifact in after.artifacts.values():
        assert sha256_of(after.file(artifact)) == artifact.sha256


@pytest.mark.parametrize("name", ["weights.safetensors", "fp32.onnx", "fp16.onnx"])
@pytest.mark.parametrize("damage", ["removed", "changed"])
def test_a_file_that_was_changed_is_made_again(old: Path, made: Path, name: str, damage: str) -> None:
    if damage == "removed":
        (old / name).unlink()
    else:
        (old / name).write_bytes((old / name).read_bytes()[:-1] + b"\0")
    _random(old)
    assert (old / name).read_bytes() == (made / name).read_bytes()


@pytest.mark.parametrize("changed", ["tools", "options"])
def test_graphs_of_other_tools_or_another_opset_are_made_again(old: Path, changed: str) -> None:
    other = {"torch": "1.0"} if changed == "tools" else {"opset": 11}
    edit_manifest(old, lambda record: record["artifacts"]["onnx-fp32"]["recipe"].update({changed: other}))
    written = (old / "fp32.onnx").stat().st_mtime_ns
    _random(old)
    assert (old / "fp32.onnx").stat().st_mtime_ns > written
    assert Bundle.open(old).artifacts["onnx-fp32"].recipe.options == {"opset": graph.OPSET}


def _perturbed(part: str) -> Tamper:
    def tamper(model: ir.Model) -> None:
        value = model.graph.initializers[part]
        assert value.const_value is not None
        weights = value.const_value.numpy().copy()
        weights.flat[0] += 3.0
        value.const_value = ir.Tensor(weights, name=part)

    return tamper


def _frozen(model: ir.Model) -> None:
    """The batch of the example, deep inside the graph."""
    (logits,) = model.graph.outputs
    shape = ir.val("shape", const_value=ir.Tensor(np.array([2, 10]), name="shape"))
    model.graph.initializers.add(shape)
    reshape = ir.node("Reshape", [logits, shape], name="reshape")
    logits.name, reshape.outputs[0].name = "fc", "logits"
    reshape.outputs[0].type, reshape.outputs[0].shape = logits.type, logits.shape
    model.graph.append(reshape)
    model.graph.outputs[0] = reshape.outputs[0]


def _fixed(model: ir.Model) -> None:
    model.graph.inputs[0].shape = ir.Shape([1, 3, 32, 32])


def _useless(model: ir.Model) -> None:
    """Logits that are 0 for every image."""
    value = model.graph.initializers["fc.weight"]
    assert value.const_value is not None
    value.const_value = ir.Tensor(np.zeros_like(value.const_value.numpy()), name="fc.weight")


NOT_EQUAL = "the fp32 graph does not compute what PyTorch computes at batch 1"


@pytest.mark.parametrize(
    ("tamper", "text"),
    [
        (_perturbed("conv1.weight"), NOT_EQUAL),
        (_perturbed("fc.weight"), NOT_EQUAL),
        (_useless, NOT_EQUAL),
        (_frozen, "the fp32 graph does not run at batch 1"),
        (_fixed, r"the exported graph has images FLOAT \[1,3,32,32\]: expected one images float32 \[batch,3,32,32\]"),
    ],
    ids=["a weight of the stem", "a weight of the head", "no weights", "a frozen batch", "a fixed input"],
)
def test_a_wrong_graph_is_stopped_and_nothing_is_written(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tamper: Tamper, text: str
) -> None:
    right = graph.export_graph

    def export(network: nn.Module, spec: ModelSpec) -> ir.Model:
        model = right(network, spec)
        tamper(model)
        return model

    before = _state(old)
    monkeypatch.setattr(graph, "export_graph", export)
    for out in (tmp_path / "new", old):
        with pytest.raises(GateError, match=text) as error:
            _random(out, seed=5)
        assert error.value.exit_code == 3
    assert not (tmp_path / "new").exists()
    assert _state(old) == before
    assert Bundle.open(old).find("onnx-fp16", "").sha256 == sha256_of(old / "fp16.onnx")


def test_a_wrong_conversion_is_stopped_although_fp32_is_right(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(model: ir.Model) -> ir.Model:
        converted = right(model)
        value = converted.graph.initializers["fc.weight"]
        assert value.const_value is not None
        value.const_value = ir.Tensor(value.const_value.numpy()[::-1].copy(), name="fc.weight")
        return converted

    before, right = _state(old), half.convert_fp16
    monkeypatch.setattr(half, "convert_fp16", convert)
    for out in (tmp_path / "new", old):
        with pytest.raises(GateError, match="the fp16 graph does not compute what PyTorch computes"):
            _random(out, seed=5)
    assert not (tmp_path / "new").exists()
    assert _state(old) == before


def test_weights_that_fp16_cannot_hold_leave_no_bundle(tmp_path: Path) -> None:
    spec = describe_model("wrn-10-1")
    network = build_model(spec)
    with torch.no_grad():
        network.get_parameter("fc.weight")[0, 0] = 1e5
    write_weights(network, spec, tmp_path / "large.safetensors")
    with pytest.raises(DeployError, match=r"fc\.weight reaches 100000: fp16 ends at 65504"):
        export_bundle(
            ExportOptions(model="wrn-10-1", out=tmp_path / "bundle", weights=tmp_path / "large.safetensors"), Silent()
        )
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("place", [(graph, "export_graph"), (half, "convert_fp16"), (check, "check_parity")])
def test_an_interrupt_leaves_everything_as_it_was(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[Any, str]
) -> None:
    def interrupt(*_parts: object, **_named: object) -> None:
        raise KeyboardInterrupt

    before = _state(old)
    monkeypatch.setattr(*place, interrupt)
    for out in (tmp_path / "new", old):
        with pytest.raises(KeyboardInterrupt):
            _random(out, seed=5)
    assert not (tmp_path / "new").exists()
    assert _state(old) == before


def test_a_folder_with_other_files_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"precious")
    with pytest.raises(DeployError, match=r"contains other files but no manifest\.json: choose an empty or new folder"):
        _random(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_file_in_the_place_of_the_bundle_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"precious")
    with pytest.raises(DeployError, match="is a file: expected a folder for the bundle"):
        _random(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"precious"


@pytest.mark.parametrize("damage", ["empty", "cut", "no list of artifacts"])
def test_a_damaged_manifest_is_replaced(old: Path, made: Path, damage: str) -> None:
    whole = (old / "manifest.json").read_text()
    content = {"empty": "", "cut": whole[: len(whole) // 2], "no list of artifacts": '{"artifacts": 3}'}[damage]
    (old / "manifest.json").write_text(content)
    _random(old)
    assert (old / "manifest.json").read_bytes() == (made / "manifest.json").read_bytes()


def test_the_weights_of_another_network_are_refused_by_name(trained: Path, tmp_path: Path) -> None:
    weights = trained / "weights.safetensors"
    with pytest.raises(DeployError, match="contains wrn-10-1: expected wrn-16-2; give it its own name"):
        export_bundle(ExportOptions(model="wrn-16-2", out=tmp_path / "bundle", weights=weights), Silent())
    save_file(dict(read_weights(weights).tensors), tmp_path / "bare.safetensors")
    with pytest.raises(
        DeployError, match=r"is not a checkpoint of wrn-16-2 \(10 classes\), read in the layout of wrn-deploy: "
    ):
        export_bundle(
            ExportOptions(model="wrn-16-2", out=tmp_path / "bundle", weights=tmp_path / "bare.safetensors"), Silent()
        )
    assert not (tmp_path / "bundle").exists()


def test_what_the_weights_say_of_classes_and_preprocessing_is_kept_unless_changed(
    trained: Path, tmp_path: Path
) -> None:
    weights = trained / "weights.safetensors"
    names = tuple("abcdefghij")
    options = ExportOptions(
        model="wrn-10-1", out=tmp_path / "bundle", weights=weights, overrides=Overrides(labels=names)
    )
    bundle, source = export_bundle(options, Silent()), read_weights(weights).spec
    assert source is not None
    assert bundle.spec == dataclasses.replace(source, labels=names)
    assert read_weights(tmp_path / "bundle" / "weights.safetensors").spec == bundle.spec
    with pytest.raises(DeployError, match=r"has 10 classes, wrn-10-1 expects 7 .*: pass --classes 10"):
        export_bundle(dataclasses.replace(options, overrides=Overrides(classes=7)), Silent())


@pytest.mark.parametrize("package", ["torch", "safetensors", "onnx", "onnxscript", "onnx_ir", "onnxruntime"])
def test_a_missing_package_is_named_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == package else object())
    hint = f"pip install '{package.replace('_', '-')}>"
    with pytest.raises(MachineError, match=f"exporting a model needs {package}, .*{hint}") as error:
        _random(tmp_path / "bundle")
    assert error.value.exit_code == 4
    assert not (tmp_path / "bundle").exists()


def test_probe_images_are_real_normalised_and_of_the_networks_size() -> None:
    for name, count in (("wrn-16-2", 64), ("wrn-50-2", 3)):
        spec = describe_model(name)
        images = probe_images(spec, count)
        assert images.shape == (count, *spec.input.shape)
        assert images.dtype == np.float32
        assert len({image.tobytes() for image in images}) == count
        black = [-mean / std for mean, std in zip(spec.preprocessing.mean, spec.preprocessing.std, strict=True)]
        np.testing.assert_allclose(images.min(axis=(0, 2, 3)), black, atol=1e-3)
