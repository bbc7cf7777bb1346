"""The options of the experimental precisions: what they make and list."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Cli
from wrn_deploy.bundle import Bundle


def test_export_lists_a_bf16_graph_where_it_was_asked_for(cli: Cli, bundle: Bundle, trained: Path) -> None:
    weights = trained / "weights.safetensors"
    made = cli("export", "wrn-10-1", "--weights", weights, "--bf16", "--out", bundle.folder, "--json").json()
    assert [artifact["key"] for artifact in made["artifacts"]] == ["weights", "onnx-fp32", "onnx-fp16", "onnx-bf16"]
    assert made["artifacts"][-1]["precision"] == "bf16"
    again = cli("export", "wrn-10-1", "--weights", weights, "--bf16", "--out", bundle.folder)
    assert again.err == f"{bundle.folder}: weights, fp32, fp16 and bf16 graphs are up to date\n"


def test_calibrate_lists_an_fp8_graph_where_it_was_asked_for(cli: Cli, bundle: Bundle) -> None:
    command = ("calibrate", bundle.folder, "--calib-data", "digits", "--calib-size", 128)
    made = cli(*command, "--fp8")
    assert made.code == 0
    assert "onnx-fp8-tensorrt" in made.out
    assert "calibration table and int8 graphs are up to date" in made.err
    assert "onnx-fp8-tensorrt: same argmax as fp32 on " in made.err
    assert "onnx-fp8" not in cli(*command).out
    linted = cli("lint", bundle.folder / "fp8-tensorrt.onnx")
    assert (linted.code, linted.out) == (1, "")
    assert "has fp8 codes: expected int8" in linted.err
