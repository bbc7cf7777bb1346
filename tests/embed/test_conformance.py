"""Both libraries and the Python Runner: the same bytes for each bundle, the same code and text for each bad one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper

from tests.embed.conftest import Driver, compare_bytes
from tests.manifests import edit_manifest, read_record, write_record
from wrn_deploy import Runner
from wrn_deploy.bundle import Bundle
from wrn_deploy.data.preprocess import normalize
from wrn_deploy.errors import DeployError
from wrn_deploy.manifest import MANIFEST, seal
from wrn_deploy.models import Overrides
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.progress import Silent


@pytest.mark.parametrize("count", [1, 7, 300])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_network_of_digits(
    drive: Driver,
    made_bundle: Path,
    images: npt.NDArray[np.uint8],
    tmp_path: Path,
    precision: str,
    dtype: str,
    count: int,
) -> None:
    sent = images if dtype == "uint8" else normalize(images, Bundle.open(made_bundle).spec.preprocessing)
    compare_bytes(drive, made_bundle, precision, sent, count, tmp_path)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_pixels_in_and_the_top_classes_and_features_out(
    drive: Driver, made_interface_bundle: Path, images: npt.NDArray[np.uint8], tmp_path: Path, precision: str
) -> None:
    for count in (1, 5):
        compare_bytes(drive, made_interface_bundle, precision, images, count, tmp_path)


def test_feature_maps(drive: Driver, trained: Path, images: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    weights = trained / "weights.safetensors"
    export_bundle(ExportOptions(model="wrn-10-1", out=tmp_path / "b", weights=weights, feature_maps=True), Silent())
    compare_bytes(drive, tmp_path / "b", "fp32", images, 3, tmp_path)


@pytest.fixture(scope="session")
def cifar(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of wrn-16-2 with published weights, calibrated on real images."""
    folder = tmp_path_factory.mktemp("cifar") / "bundle"
    options = ExportOptions(
        model="wrn-16-2",
        out=folder,
        weights=shared_data / "checkpoints" / "wrn-16-2-cifar10.pth",
        overrides=Overrides(mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.243, 0.261)),
    )
    bundle = export_bundle(options, Silent())
    data = str(shared_data / "cifar10" / "train-exact-8068.npz")
    calibrate_bundle(bundle, CalibrateOptions(data=data, size=64), Silent())
    return folder


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_wrn_16_2_on_cifar_10(drive: Driver, cifar: Path, shared_data: Path, tmp_path: Path, precision: str) -> None:
    with np.load(shared_data / "cifar10" / "test-exact-1017.npz") as loaded:
        images = loaded["images"][:64]
    compare_bytes(drive, cifar, precision, images, 64, tmp_path)


# ---- bundles that cannot be opened ----


def _write(text: bytes) -> Callable[[Path], None]:
    return lambda bundle: void((bundle / MANIFEST).write_bytes(text))


def void(_result: object) -> None:
    """Takes what an expression returns, which a mutation does not need."""


def _edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    return lambda bundle: edit_manifest(bundle, change)


def _set(*path: str, value: object) -> Callable[[Path], None]:
    def change(record: dict[str, Any]) -> None:
        for name in path[:-1]:
            record = record[name]
        record[path[-1]] = value

    return _edit(change)


def _replace(old: bytes, new: bytes) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        text = (bundle / MANIFEST).read_bytes()
        assert old in text
        (bundle / MANIFEST).write_bytes(text.replace(old, new, 1))

    return change


def _vouch(bundle: Path, content: bytes) -> None:
    """Puts a graph into the bundle with a manifest that vouches for it."""
    (bundle / "fp32.onnx").write_bytes(content)
    record = read_record(bundle)
    made = record["artifacts"]["onnx-fp32"]
    made.update(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    write_record(bundle, record)


def _graph(change: Callable[[onnx.ModelProto], object]) -> Callable[[Path], None]:
    def edit(bundle: Path) -> None:
        model = onnx.load(bundle / "fp32.onnx")
        change(model)
        _vouch(bundle, model.SerializeToString())

    return edit


def _branch(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "empty", [], [])
    model.graph.node.append(helper.make_node("If", ["images"], ["x"], then_branch=body, else_branch=body))


def _external(bundle: Path) -> None:
    model = onnx.load(bundle / "fp32.onnx")
    onnx.save(model, bundle / "fp32.onnx", save_as_external_data=True, location="w.data", size_threshold=0)
    _vouch(bundle, (bundle / "fp32.onnx").read_bytes())


def _short_constant(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-1]


def _huge(model: onnx.ModelProto) -> None:
    """A Pad of a few bytes that asks for terabytes."""
    pads = helper.make_tensor("pads", TensorProto.INT64, [8], [0, 0, 0, 0, 0, 0, 1 << 20, 1 << 20])
    model.graph.initializer.append(pads)
    model.graph.node.insert(0, helper.make_node("Pad", ["images", "pads"], ["padded"]))


def _misfit(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Transpose", ["images"], ["turned"], perm=[0, 1]))


def _other_class_count(bundle: Path) -> None:
    edit_manifest(bundle, lambda record: record["model"].update(classes=11, labels=[]))


def _link(name: str) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        (bundle / name).rename(bundle.parent / "elsewhere")
        (bundle / name).symlink_to(bundle.parent / "elsewhere")

    return change


def _fifo(name: str) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        (bundle / name).unlink()
        os.mkfifo(bundle / name)

    return change


def _folder(name: str) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        (bundle / name).unlink()
        (bundle / name).mkdir()

    return change


def _flip(name: str) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        content = bytearray((bundle / name).read_bytes())
        content[len(content) // 2] ^= 4
        (bundle / name).write_bytes(content)

    return change


def _cut(name: str) -> Callable[[Path], None]:
    return lambda bundle: void((bundle / name).write_bytes((bundle / name).read_bytes()[:-7]))


def _move_within(name: str) -> Callable[[Path], None]:
    """The graph lies where another part of its path is a link."""

    def change(bundle: Path) -> None:
        (bundle.parent / "real").mkdir()
        (bundle / "fp32.onnx").rename(bundle.parent / "real" / "fp32.onnx")
        (bundle / "sub").symlink_to(bundle.parent / "real")
        edit_manifest(bundle, lambda record: record["artifacts"]["onnx-fp32"].update(path=name))

    return change


PARENT = {"onnx-fp32": "0" * 64}
# Each changes a bundle that is whole; what the Runner then says of its fp32 graph is what the libraries must say.
BAD: dict[str, Callable[[Path], None]] = {
    "no manifest": lambda bundle: (bundle / MANIFEST).unlink(),
    "empty": _write(b""),
    "not JSON": _write(b"hello"),
    "half an object": _write(b'{"format": 2, "model": {'),
    "a comma at the end": _write(b'{"format": 2,\n "model": 1,\n}'),
    "no colon": _write(b'{"format" 2}'),
    "no comma": _write(b'{"format": 2 "model": 1}'),
    "an open string": _write(b'{"format": 2, "mod'),
    "a control character": _write(b'{"for\nmat": 2}'),
    "a wrong escape": _write(b'{"for\\xmat": 2}'),
    "a wrong code": _write(b'{"for\\u12g4": 2}'),
    "more behind it": _write(b'{"format": 2} {}'),
    "bytes beyond ASCII": _write('{"förmat": 2}'.encode()),
    "a key twice": _write(b'{"format": 2, "format": 2}'),
    "NaN": _write(b'{"format": NaN}'),
    "minus Infinity": _write(b'{"format": -Infinity}'),
    "an infinite number": _write(b'{"format": 1e999}'),
    "a leading zero": _write(b'{"format": 02}'),
    "a list": _write(b"[2]"),
    "no format": _write(b'{"model": 1}'),
    "another format": _write(b'{"format": 1}'),
    "format as text": _write(b'{"format": "2"}'),
    "format as truth": _write(b'{"format": true}'),
    "format as fraction": _write(b'{"format": 2.0}'),
    "deep": _write(b'{"format": 2, "a": ' + b"[" * 150 + b"1" + b"]" * 150 + b"}"),
    "a changed character": _replace(b'"wrn-10-1"', b'"wrn-10-2"'),
    "a changed blank": _replace(b'\n "model"', b'\n  "model"'),
    "a number written otherwise": _replace(b'"dropout": 0.0', b'"dropout": 0e0'),
    "a letter written otherwise": _replace(b'"wrn-10-1"', b'"\\u0077rn-10-1"'),
    "an unknown field": _edit(lambda record: record.update(other=1)),
    "an unknown field of the model": _edit(lambda record: record["model"].update(other=1)),
    "a missing field": _edit(lambda record: record["model"].pop("classes")),
    "classes as text": _set("model", "classes", value="10"),
    "classes as truth": _set("model", "classes", value=True),
    "classes that are too many": _set("model", "classes", value=2**63),
    "one class": _set("model", "classes", value=1),
    "labels that do not fit": _set("model", "labels", value=["a", "b"]),
    "a label that is no text": _set("model", "labels", value=["a", 3]),
    "half a surrogate pair": _set("model", "name", value="\ud800"),
    "dropout of 1": _set("model", "dropout", value=1.5),
    "no height": _set("model", "preprocessing", "height", value=0),
    "a resize that is too small": _set("model", "preprocessing", "resize", value=31),
    "interpolation": _set("model", "preprocessing", "interpolation", value="nearest"),
    "two means": _set("model", "preprocessing", "mean", value=[0.5, 0.5]),
    "a mean that is a text": _set("model", "preprocessing", "mean", value=[0.5, "a", 0.5]),
    "top 11 of 10": _set("model", "interface", "top_k", value=11),
    "top 0": _set("model", "interface", "top_k", value=0),
    "fewer than no features": _set("model", "interface", "features", value=-1),
    "random weights as number": _set("random_weights", value=1),
    "artifacts as list": _set("artifacts", value=[]),
    "no artifacts": _set("artifacts", value={}),
    "a kind": _set("artifacts", "onnx-fp32", "kind", value="onix"),
    "a precision": _set("artifacts", "onnx-fp32", "precision", value="fp33"),
    "a path that leads out": _set("artifacts", "onnx-fp32", "path", value="../fp32.onnx"),
    "a path from the root": _set("artifacts", "onnx-fp32", "path", value="/etc/passwd"),
    "a hidden path": _set("artifacts", "onnx-fp32", "path", value=".hidden"),
    "the manifest as artifact": _set("artifacts", "onnx-fp32", "path", value=MANIFEST),
    "a backslash": _set("artifacts", "onnx-fp32", "path", value="a\\b"),
    "an empty path": _set("artifacts", "onnx-fp32", "path", value=""),
    "a key with a blank": _set("artifacts", "onnx-fp32", "key", value="a b"),
    "a key of another": _set("artifacts", "onnx-fp32", "key", value="onnx-fp16"),
    "a short digest": _set("artifacts", "onnx-fp32", "sha256", value="abc"),
    "a negative size": _set("artifacts", "onnx-fp32", "size_bytes", value=-1),
    "a parent that is a number": _set("artifacts", "onnx-fp32", "recipe", "parents", value={"weights": 3}),
    "a manifest behind a link": _link(MANIFEST),
    "a manifest that is a FIFO": _fifo(MANIFEST),
    "a manifest that is a folder": _folder(MANIFEST),
    "no graph": lambda bundle: (bundle / "fp32.onnx").unlink(),
    "a graph behind a link": _link("fp32.onnx"),
    "a graph behind a linked folder": _move_within("sub/fp32.onnx"),
    "a graph in a missing folder": _set("artifacts", "onnx-fp32", "path", value="a/fp32.onnx"),
    "a graph that is a FIFO": _fifo("fp32.onnx"),
    "a graph that is a folder": _folder("fp32.onnx"),
    "a flipped bit": _flip("fp32.onnx"),
    "a shorter graph": _cut("fp32.onnx"),
    "a graph without an entry": _edit(lambda record: record["artifacts"].pop("onnx-fp32")),
    "a stale graph": _set("artifacts", "onnx-fp32", "recipe", "parents", value={"weights": "0" * 64}),
    "stale weights": _set("artifacts", "weights", "recipe", "parents", value=PARENT),
    "an empty graph": lambda bundle: _vouch(bundle, b""),
    "a graph of zeros": lambda bundle: _vouch(bundle, bytes(100)),
    "a graph of text": lambda bundle: _vouch(bundle, b"hello, this is no graph"),
    "a graph that is cut": lambda bundle: _vouch(bundle, (bundle / "fp32.onnx").read_bytes()[:-100]),
    "external data": _external,
    "functions": _graph(lambda model: model.functions.append(helper.make_function("a", "f", [], [], [], []))),
    "a branch": _graph(_branch),
    "training data": _graph(lambda model: model.training_info.add()),
    "an unknown operator": _graph(lambda model: model.graph.node.append(helper.make_node("Loop", ["images"], ["x"]))),
    "a foreign operator": _graph(
        lambda model: model.graph.node.append(helper.make_node("Relu", ["images"], ["x"], domain="evil"))
    ),
    "a short constant": _graph(_short_constant),
    "a graph that asks for terabytes": _graph(_huge),
}


@pytest.fixture(scope="module")
def bad(made_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The changed bundles."""
    made = {}
    for name, change in BAD.items():
        folder = tmp_path_factory.mktemp("bad") / "bundle"
        made[name] = Path(shutil.copytree(made_bundle, folder))
        change(folder)
    return made


def _said(folder: Path, backend: str | None, precision: str | None) -> tuple[int, str]:
    try:
        Runner.open(folder, backend=backend, precision=precision).close()
    except DeployError as error:
        return error.exit_code, str(error)
    return 0, ""


def test_each_bad_bundle_has_the_code_and_text_of_python(drive: Driver, bad: dict[str, Path], tmp_path: Path) -> None:
    lines = "".join(f"{folder}\tonnxruntime\tfp32\n" for folder in bad.values())
    (tmp_path / "list").write_text(lines)
    ran = drive("list", tmp_path / "list")
    assert (ran.code, ran.err) == (0, "")
    assert len(ran.statuses) == len(bad)
    differing = {}
    for (name, folder), code, text in zip(bad.items(), ran.statuses, ran.messages, strict=True):
        wanted = _said(folder, "onnxruntime", "fp32")
        assert wanted[0] != 0, f"{name} can be opened"
        if (code, text) != wanted:
            differing[name] = [wanted, (code, text)]
    assert not differing, json.dumps(differing, indent=1)


def test_inputs_that_do_not_fit_have_the_same_code(drive: Driver, bundle: Bundle) -> None:
    _graph(_misfit)(bundle.folder)
    code, text = _said(bundle.folder, "onnxruntime", "fp32")
    ran = drive("open", bundle.folder, "onnxruntime", "fp32")
    start = text[: text.index("(")]
    assert start.endswith("fp32.onnx has a Transpose whose inputs do not fit ")
    assert ran.statuses == [code, code] == [1, 1]
    assert ran.messages[0].startswith(start)


@pytest.mark.parametrize("path", ["bundle/manifest.json", "bundle/fp32.onnx", "a.onnx", "a.onnx/b", "missing/b"])
def test_a_path_that_is_no_folder_has_the_code_and_text_of_python(
    drive: Driver, made_bundle: Path, tmp_path: Path, path: str
) -> None:
    shutil.copytree(made_bundle, tmp_path / "bundle")
    shutil.copy(made_bundle / "fp32.onnx", tmp_path / "a.onnx")
    ran = drive("open", tmp_path / path, "onnxruntime", "fp32")
    assert [*zip(ran.statuses, ran.messages, strict=True)] == [_said(tmp_path / path, "onnxruntime", "fp32")] * 2


@pytest.mark.parametrize(
    ("backend", "precision"),
    [("onnxruntime", "fp16"), ("onnxruntime", "int4"), ("onnxruntme", None), ("x", "fp32"), ("onnxruntime", "bf16")],
)
def test_each_wrong_choice_has_the_code_and_text_of_python(
    drive: Driver, made_bundle: Path, backend: str, precision: str | None
) -> None:
    wanted = _said(made_bundle, backend, precision)
    ran = drive("open", made_bundle, backend, precision or "-")
    assert [*zip(ran.statuses, ran.messages, strict=True)] == [wanted] * 2


LIMITS = (
    "text_bytes=100", "parts=3", "members=5", "nesting=2", "memory_bytes=4000", "pixels=x", "unknown=3", "=",
    "text_bytes=-1", "seconds=7, links=1", "text_bytes=1e18", "text_bytes=1e19", "text_bytes=1e30", "seconds=1e10",
)  # fmt: skip


def test_limits_and_their_texts_are_the_same(drive: Driver, made_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for limits in LIMITS:
        monkeypatch.setenv("WRN_DEPLOY_LIMITS", limits)
        wanted = _said(made_bundle, "onnxruntime", "fp32")
        ran = drive("list", _one(made_bundle), WRN_DEPLOY_LIMITS=limits)
        assert [*zip(ran.statuses, ran.messages, strict=True)] == [wanted], limits


def _one(bundle: Path) -> Path:
    file = bundle.parent / "one.list"
    file.write_text(f"{bundle}\tonnxruntime\tfp32\n")
    return file


def test_an_unfinished_commit_of_our_own_is_read(drive: Driver, bundle: Bundle, tmp_path: Path) -> None:
    """The state in `.commit` counts with a record of this place, and not in a copy of the folder."""
    folder = bundle.folder
    pending = folder / ".commit"
    pending.mkdir()
    record = read_record(folder)
    record["model"]["name"] = "of the commit"
    (pending / MANIFEST).write_bytes(seal(record))
    inodes = {"folder": folder.stat().st_ino, "commit": pending.stat().st_ino, "last": MANIFEST}
    (pending / ".record").write_text(json.dumps(inodes))
    copy = shutil.copytree(folder, tmp_path / "copy")
    for place, name in ((folder, "of the commit"), (copy, "wrn-10-1")):
        with Runner.open(place, backend="onnxruntime") as runner:
            assert runner.bundle.spec.name == name
        texts = dict(drive("describe", place, "onnxruntime", "fp32", 0).values("text"))
        assert texts["1"] == name
