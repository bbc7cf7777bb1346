"""What bundles, graphs and plans are said to be."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest

from tests.manifests import read_record, write_record
from wrn_deploy.bundle import Bundle
from wrn_deploy.engines.flavor import Flavor, installed_flavors
from wrn_deploy.errors import DeployError
from wrn_deploy.machine import find_gpu
from wrn_deploy.pipeline.inspection.inspect import inspect_path
from wrn_deploy.pipeline.inspection.views import BundleView, GraphView, PlanView
from wrn_deploy.progress import Silent

needs_rtx = pytest.mark.skipif(Flavor.RTX not in installed_flavors(), reason="TensorRT-RTX is not installed")
BYTES = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["@@"])], "g", [], [])
PLAN = "int8-tensorrt_rtx.plan"


def look(path: Path) -> BundleView | GraphView | PlanView:
    return inspect_path(path, Silent())


def graph(path: Path) -> GraphView:
    view = look(path)
    assert isinstance(view, GraphView)
    return view


def plan(path: Path) -> PlanView:
    view = look(path)
    assert isinstance(view, PlanView)
    return view


def states(folder: Path) -> dict[str, str | None]:
    view = look(folder)
    assert isinstance(view, BundleView)
    return {entry.key: entry.problem for entry in view.artifacts}


def test_a_bundle_and_its_artifacts(made_bundle: Path) -> None:
    view = look(made_bundle)
    assert isinstance(view, BundleView)
    assert (view.model, view.random_weights) == ("wrn-10-1", False)
    entries = {entry.key: entry for entry in view.artifacts}
    assert set(entries) == set(Bundle.open(made_bundle).artifacts)
    assert all(entry.problem is None for entry in entries.values())
    assert entries["onnx-fp32"].parents == ("weights",)
    assert entries["onnx-fp32"].size_bytes == (made_bundle / "fp32.onnx").stat().st_size
    assert entries["calibration"].options["method"] == "mse"
    assert not any("digest" in name for name in entries["calibration"].options)
    assert view == look(made_bundle / "manifest.json")


def test_what_is_wrong_in_a_bundle_is_said_with_the_remedy(bundle: Bundle) -> None:
    (bundle.folder / "fp16.onnx").write_bytes(b"changed")
    (bundle.folder / "calibration.json").unlink()
    found = states(bundle.folder)
    assert found["onnx-fp32"] is None
    assert "it was changed or damaged; run `wrn-deploy export wrn-10-1" in str(found["onnx-fp16"])
    assert "is missing or cannot be read" in str(found["calibration"])
    assert "run `wrn-deploy calibrate" in str(found["calibration"])


def test_the_state_is_the_kind_of_the_error_whatever_its_text_says(bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "it was made from nothing and is missing here"
    shutil.copytree(bundle.folder, folder)
    (folder / "fp16.onnx").write_bytes(b"changed")
    (folder / "calibration.json").unlink()
    view = look(folder)
    assert isinstance(view, BundleView)
    found = {entry.path: entry.state for entry in view.artifacts}
    assert (found["fp32.onnx"], found["fp16.onnx"], found["calibration.json"]) == ("ok", "damaged", "missing")
    record = read_record(bundle.folder)
    for artifact in record["artifacts"].values():
        artifact["recipe"]["parents"].update(dict.fromkeys(artifact["recipe"]["parents"], "0" * 64))
    write_record(bundle.folder, record)
    view = look(bundle.folder)
    assert isinstance(view, BundleView)
    assert {entry.path: entry.state for entry in view.artifacts}["fp16.onnx"] == "stale"


def test_what_was_made_from_another_file_is_stale(bundle: Bundle) -> None:
    record = read_record(bundle.folder)
    for artifact in record["artifacts"].values():
        parents = artifact["recipe"]["parents"]
        parents.update({key: "0" * 64 for key in parents if key == "onnx-fp32"})
    write_record(bundle.folder, record)
    found = states(bundle.folder)
    assert found["onnx-fp32"] is None
    assert "onnx-fp16 was made from onnx-fp32 000000000000, which is now" in str(found["onnx-fp16"])


@pytest.mark.parametrize(
    ("name", "fractions"),
    [
        ("fp32.onnx", {"fp32": 1.0}),
        ("fp16.onnx", {"fp16": 1.0}),
        ("int8-tensorrt.onnx", {"int8": 0.9999, "fp16": 0.0001}),
        ("int8-onnxruntime.onnx", {"int8": 0.9646, "fp32": 0.0354}),  # conv1 reads the images in float
    ],
)
def test_a_graph(made_bundle: Path, name: str, fractions: dict[str, float]) -> None:
    view = graph(made_bundle / name)
    assert view.opset == 20
    assert view.inputs == (("images", "float", "batch x 3 x 32 x 32"),)
    assert view.outputs == (("logits", "float", "batch x 10"),)
    assert view.nodes["Conv"] >= 9
    # BN folded, one more input channel; eight constant channels that the first Conv writes and the next one reads
    assert view.parameters == pytest.approx(80_280 if "tensorrt" in name else 77_850, rel=0.01)
    assert view.macs is not None
    assert view.macs > 10e6
    assert view.fractions == pytest.approx(fractions, abs=1e-3)
    assert view.size_bytes == (made_bundle / name).stat().st_size


def test_a_graph_without_a_conv_has_no_macs(tmp_path: Path) -> None:
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n"]) for name in "xy"]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", values[:1], values[1:])), tmp_path / "g.onnx")
    view = graph(tmp_path / "g.onnx")
    assert (view.macs, view.fractions, view.parameters, view.nodes) == (0, {}, 0, {"Relu": 1})


def test_unknown_shapes_are_said_to_be_unknown(made_bundle: Path, tmp_path: Path) -> None:
    model = onnx.load(made_bundle / "fp32.onnx")
    del model.graph.value_info[:]
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(model, tmp_path / "open.onnx")
    view = graph(tmp_path / "open.onnx")
    assert (view.macs, view.fractions) == (None, {})
    assert view.inputs[0][2] == "batch x 3 x height x 32"


@needs_rtx
def test_a_plan_of_a_bundle(made_bundle: Path) -> None:
    view = plan(made_bundle / PLAN)
    assert (view.flavor, view.key, view.problem) == ("tensorrt_rtx", "plan-int8-tensorrt_rtx", None)
    assert view.facts["version"].startswith("1.")
    assert view.facts["profiles"] == [{"minimum": 1, "optimum": 8, "maximum": 32}]
    assert view.proof["shares"]["int8"] > 0.99
    if find_gpu() is None:
        assert view.proof["source"] == "builder log"
        assert (view.layers, view.missing) == ((), "reading the layers needs a GPU, and this machine has none")


@needs_rtx
def test_a_plan_of_no_bundle(made_bundle: Path, tmp_path: Path) -> None:
    shutil.copy(made_bundle / PLAN, tmp_path / "alone.plan")
    view = plan(tmp_path / "alone.plan")
    assert (view.flavor, view.bundle, view.facts, view.problem) == ("tensorrt_rtx", None, {}, None)
    assert "the plan is not in a bundle" in str(view.missing)
    (tmp_path / "cut.plan").write_bytes((made_bundle / PLAN).read_bytes()[:10_000])
    assert "the plan has 10000 bytes and declares" in str(plan(tmp_path / "cut.plan").problem)


@needs_rtx
def test_a_plan_that_was_changed_in_its_bundle(bundle: Bundle) -> None:
    (bundle.folder / PLAN).write_bytes(b"vtrt and nothing more")
    view = plan(bundle.folder / PLAN)
    assert "is not the file that the manifest describes" in str(view.problem)
    assert f"wrn-deploy build-engine {bundle.folder} --int8 --rebuild" in str(view.problem)
    assert view.layers == ()


@pytest.mark.gpu
def test_on_a_gpu_the_layers_are_shown(bundle: Bundle) -> None:
    from wrn_deploy.engines.options import EngineOptions
    from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
    from wrn_deploy.spec import Precision

    for flavor in installed_flavors():
        made = build_engine(
            bundle,
            BuildOptions(precision=Precision.INT8, engine=EngineOptions(), flavor=flavor, rebuild=True),
            Silent(),
        )
        view = plan(bundle.file(made))
        assert len(view.layers) > 9
        assert any(tensor.type == "int8" for layer in view.layers for tensor in layer.inputs)


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        (
            "names.onnx",
            onnx.helper.make_model(BYTES).SerializeToString().replace(b"@@", b"\xff\xfe"),
            r"is not an ONNX file \('utf-8' codec can't decode",
        ),
        ("empty.onnx", b"", "is empty: expected a bundle's folder"),
        ("weights.safetensors", b"\x08\0\0\0\0\0\0\0{}", "expected a bundle's folder, an ONNX graph or a plan"),
        ("text.txt", b"hello", "expected a bundle's folder, an ONNX graph or a plan"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, data: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DeployError, match=expected):
        look(tmp_path / name)


def test_other_folders_and_no_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="is not a bundle"):
        look(tmp_path)
    with pytest.raises(DeployError, match="does not exist: expected a bundle's folder"):
        look(tmp_path / "nothing")
