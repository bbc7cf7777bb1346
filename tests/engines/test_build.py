"""Plans are really built, with TensorRT-RTX and without a GPU; what cannot be built says why."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from wrn_deploy.engines.build import BuiltPlan, Profile, build_plan
from wrn_deploy.engines.flavor import Flavor, TensorRT, find_flavor, installed_flavors
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.spec import TensorSpec

pytestmark = pytest.mark.skipif(Flavor.RTX not in installed_flavors(), reason="TensorRT-RTX is not installed")

IMAGES = TensorSpec("images", "float32", (3, 32, 32))
PROFILE = Profile(1, 2, 4)


@pytest.fixture(scope="module")
def rtx() -> TensorRT:
    return find_flavor(Flavor.RTX)


def build(rtx: TensorRT, file: Path, source: TensorSpec = IMAGES, workspace_mib: int | None = None) -> BuiltPlan:
    return build_plan(rtx, file, source, PROFILE, workspace_mib)


@pytest.mark.parametrize("graph", ["fp32.onnx", "fp16.onnx", "int8-tensorrt.onnx"])
def test_every_graph_of_a_bundle_gives_a_plan(rtx: TensorRT, made_bundle: Path, graph: str) -> None:
    built = build(rtx, made_bundle / graph)
    assert built.plan.startswith(b"vtrt")
    assert len(built.plan) > 10_000
    assert built.seconds > 0
    assert built.memory["weights_bytes"] > 10_000
    assert built.memory["activation_bytes"] > 0


def test_the_weights_in_a_plan_have_the_precision_of_the_graph(rtx: TensorRT, made_bundle: Path) -> None:
    """No flag asks for it: 78,000 parameters take 4, 2 and (but for the classifier) 1 byte each."""
    graphs = ("fp32.onnx", "fp16.onnx", "int8-tensorrt.onnx")
    single, half, quarter = (build(rtx, made_bundle / graph).memory["weights_bytes"] for graph in graphs)
    assert 3.9 * 77_850 < single < 4.1 * 77_850
    assert half == pytest.approx(single / 2, rel=0.05)
    assert quarter == pytest.approx(single / 4, rel=0.2)


def test_two_builds_differ_in_nothing_but_internal_numbers(rtx: TensorRT, made_bundle: Path) -> None:
    """TensorRT's compiler numbers its own tensors by memory addresses: with them fixed, all bytes are the same."""
    for graph in ("fp16.onnx", "int8-tensorrt.onnx"):
        plans = [build(rtx, made_bundle / graph).plan for _ in range(2)]
        first, second = (re.sub(rb"__mye\d+", lambda name: b"_" * len(name[0]), plan) for plan in plans)
        assert first == second


def test_the_profile_is_part_of_the_plan(rtx: TensorRT, made_bundle: Path) -> None:
    other = build_plan(rtx, made_bundle / "fp16.onnx", IMAGES, Profile(1, 2, 8), None)
    assert other.plan != build(rtx, made_bundle / "fp16.onnx").plan


def test_the_vendor_prints_nothing(rtx: TensorRT, made_bundle: Path, tmp_path: Path, capfd: Any) -> None:
    (tmp_path / "garbage.onnx").write_bytes(b"garbage")
    for graph in ("fp16.onnx", "int8-tensorrt.onnx"):
        build(rtx, made_bundle / graph)
    with pytest.raises(DeployError):
        build(rtx, tmp_path / "garbage.onnx")
    with pytest.raises(DeployError):
        build(rtx, made_bundle / "fp16.onnx", workspace_mib=1)
    assert capfd.readouterr() == ("", "")


def refusal(rtx: TensorRT, file: Path, source: TensorSpec = IMAGES, workspace_mib: int | None = None) -> str:
    with pytest.raises(DeployError) as error:
        build(rtx, file, source, workspace_mib)
    text = str(error.value)
    assert text.startswith(f"tensorrt_rtx built no plan from {file.name}: ")
    return text


@pytest.mark.parametrize("data", [b"garbage" * 100, b"\xff" * 4096])
def test_garbage_is_no_graph(rtx: TensorRT, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "graph.onnx").write_bytes(data)
    assert "no ONNX graph, or it is truncated" in refusal(rtx, tmp_path / "graph.onnx")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_graph_is_refused(rtx: TensorRT, made_bundle: Path, tmp_path: Path, share: float) -> None:
    whole = (made_bundle / "fp16.onnx").read_bytes()
    (tmp_path / "graph.onnx").write_bytes(whole[: int(share * len(whole))])
    assert "no ONNX graph, or it is truncated" in refusal(rtx, tmp_path / "graph.onnx")


@pytest.mark.parametrize("data", [b"", b"\x00" * 64])
def test_an_empty_file_which_parses_is_refused(rtx: TensorRT, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "graph.onnx").write_bytes(data)
    assert "expected a whole ONNX graph" in refusal(rtx, tmp_path / "graph.onnx")


def test_a_missing_file_is_refused(rtx: TensorRT, tmp_path: Path) -> None:
    assert "graph.onnx" in refusal(rtx, tmp_path / "graph.onnx")


def write(file: Path, nodes: list[onnx.NodeProto], inputs: dict[str, int]) -> Path:
    sources = [helper.make_tensor_value_info(name, kind, ["n", 3, 32, 32]) for name, kind in inputs.items()]
    result = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "graph", sources, [result])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), file)
    return file


def test_an_unknown_operator_is_explained(rtx: TensorRT, tmp_path: Path) -> None:
    node = helper.make_node("Nonsense", ["images"], ["logits"])
    text = refusal(rtx, write(tmp_path / "graph.onnx", [node], {"images": TensorProto.FLOAT}))
    assert "an operator that this TensorRT does not know" in text
    assert "Plugin not found" in text


def test_mixed_precisions_are_explained(rtx: TensorRT, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["images"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Add", ["images", "half"], ["logits"]),
    ]
    text = refusal(rtx, write(tmp_path / "graph.onnx", nodes, {"images": TensorProto.FLOAT}))
    assert "mixes precisions without a Cast" in text


def test_inputs_that_are_not_ours_are_named(rtx: TensorRT, tmp_path: Path, made_bundle: Path) -> None:
    """A profile for a name that the graph does not have would be ignored in silence."""
    renamed = TensorSpec("pictures", "float32", (3, 32, 32))
    assert "inputs are ['images'], not pictures alone" in refusal(rtx, made_bundle / "fp16.onnx", renamed)
    nodes = [helper.make_node("Add", ["images", "more"], ["logits"])]
    two = write(tmp_path / "two.onnx", nodes, {"images": TensorProto.FLOAT, "more": TensorProto.FLOAT})
    assert "inputs are ['images', 'more'], not images alone" in refusal(rtx, two)
    constant = helper.make_node("Constant", [], ["logits"], value_float=1.0)
    assert "inputs are [], not images alone" in refusal(rtx, write(tmp_path / "none.onnx", [constant], {}))


def test_another_image_size_is_explained(rtx: TensorRT, made_bundle: Path) -> None:
    large = TensorSpec("images", "float32", (3, 64, 64))
    assert "images of another size than the bundle says" in refusal(rtx, made_bundle / "fp16.onnx", large)


def test_too_little_workspace_is_explained(rtx: TensorRT, made_bundle: Path) -> None:
    assert "pass a larger --workspace" in refusal(rtx, made_bundle / "fp16.onnx", workspace_mib=1)


def test_a_graph_for_onnxruntime_is_explained(rtx: TensorRT, made_bundle: Path) -> None:
    assert "as ONNX Runtime wants it" in refusal(rtx, made_bundle / "int8-onnxruntime.onnx")


def test_bytes_that_are_no_plan_are_not_kept(rtx: TensorRT, made_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wrn_deploy.engines.build._build", lambda *_arguments: b"ftrt and more")
    with pytest.raises(DeployError, match=r"returned b'ftrt'\.\.\.: expected a plan that starts with b'vtrt'"):
        build(rtx, made_bundle / "fp16.onnx")


@pytest.mark.parametrize("batches", [(0, 1, 2), (2, 1, 4), (1, 5, 4), (8, 8, 4), (-1, 1, 1)])
def test_a_profile_out_of_order_is_a_usage_error(batches: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="expected 1 <= min <= opt <= max"):
        Profile(*batches)
