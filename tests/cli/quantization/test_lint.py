"""`wrn-deploy lint`: its table, its JSON and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from wrn_deploy.bundle import Bundle


@pytest.fixture
def graphs(made_bundle: Path) -> dict[str, Path]:
    bundle = Bundle.open(made_bundle)
    return {key: bundle.file(artifact) for key, artifact in bundle.artifacts.items() if key.startswith("onnx-")}


@pytest.mark.parametrize("target", ["tensorrt", "onnxruntime"])
def test_our_own_graphs_end_with_0(cli: Cli, graphs: dict[str, Path], target: str) -> None:
    outcome = cli("lint", graphs[f"onnx-int8-{target}"])
    assert outcome.code == 0
    reason = {"tensorrt": "no activation is uint8", "onnxruntime": "its activations are uint8"}[target]
    assert f"for {target} (assumed, as {reason}; --target chooses another)" in outcome.out
    assert "0 errors, 0 warnings," in outcome.out
    assert ("100.0 %" in outcome.out) == (target == "tensorrt")  # the stem is float for ONNX Runtime
    assert outcome.err == ""


def test_errors_end_with_3_after_the_table(cli: Cli, graphs: dict[str, Path]) -> None:
    outcome = cli("lint", graphs["onnx-int8-onnxruntime"], "--target", "tensorrt")
    assert outcome.code == 3
    assert "for tensorrt\n" in outcome.out
    assert "error QDQ205 a zero point is not zero\n  at   " in outcome.out
    assert "  cost TensorRT refuses the file.\n  fix  Calibrate symmetrically" in outcome.out
    assert "more; --json lists them" in outcome.out
    assert "error: " in outcome.err
    assert "breaks QDQ" in outcome.err
    assert "expected no errors for tensorrt" in outcome.err


def test_a_finding_about_the_whole_graph(cli: Cli, graphs: dict[str, Path]) -> None:
    outcome = cli("lint", graphs["onnx-fp16"])
    assert outcome.code == 3
    assert "error QDQ404 the graph has no Q/DQ\n  at   the graph: 9 Convs in float\n" in outcome.out
    assert "1 error, 0 warnings, 0 notes" in outcome.out


def test_json_of_a_clean_graph(cli: Cli, graphs: dict[str, Path]) -> None:
    record = cli("lint", graphs["onnx-int8-tensorrt"], "--json").json()
    assert (record["target"], record["guessed"], record["errors"], record["warnings"]) == ("tensorrt", True, 0, 0)
    assert (record["int8_convs"], record["float_convs"], record["int8_share"]) == (9, 0, 1.0)
    assert record["findings"] == []


def test_json_has_the_places_of_a_finding(cli: Cli, graphs: dict[str, Path]) -> None:
    outcome = cli("lint", graphs["onnx-int8-onnxruntime"], "--target", "tensorrt", "--json")
    assert outcome.code == 3
    [finding] = [each for each in json.loads(outcome.out)["findings"] if each["id"] == "QDQ205"]
    assert finding["severity"] == "error"
    assert {"node": "block1.0.conv2.q", "detail": "zero point"} in [
        place | {"detail": place["detail"].rstrip(" 0123456789")} for place in finding["places"]
    ]
    assert finding["fix"]
    assert finding["cost"]


def test_json_with_errors_is_whole_and_ends_with_3(cli: Cli, graphs: dict[str, Path]) -> None:
    outcome = cli("lint", graphs["onnx-fp32"], "--json", "--target", "onnxruntime")
    assert outcome.code == 3
    assert '"id": "QDQ404"' in outcome.out
    assert outcome.out.rstrip().endswith("}")


def test_no_graph_ends_with_1(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("lint", tmp_path / "none.onnx")
    assert outcome.code == 1
    assert "none.onnx cannot be read" in outcome.err
    assert outcome.out == ""


def test_an_unknown_target_ends_with_2(cli: Cli, graphs: dict[str, Path]) -> None:
    outcome = cli("lint", graphs["onnx-fp16"], "--target", "openvino")
    assert outcome.code == 2
    assert "onnxruntime" in outcome.err
