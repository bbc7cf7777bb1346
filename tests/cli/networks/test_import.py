"""An ONNX file on the command line: what import makes of it, and what it refuses by name."""

from __future__ import annotations

from pathlib import Path

from onnx import helper

from tests.cli.conftest import Cli
from tests.export.foreign.graphs import Keras, save_graph


def test_import_makes_a_bundle_with_labels(cli: Cli, tmp_path: Path) -> None:
    file = Keras().classifier(tmp_path / "flowers.onnx")
    (tmp_path / "names.txt").write_text("\n".join("abcdefg"), encoding="utf-8")
    given = ("import", file, "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5", "--out", tmp_path / "made")
    outcome = cli(*given, "--labels", tmp_path / "names.txt")
    assert outcome.code == 0, outcome.err
    assert f"flowers in {tmp_path / 'made'}" in outcome.out
    assert "fp32.onnx" in outcome.out
    assert cli("inspect", tmp_path / "made").code == 0
    assert "up to date" in cli(*given, "--labels", tmp_path / "names.txt").err


def test_an_operator_that_cannot_be_taken_is_named(cli: Cli, tmp_path: Path) -> None:
    nodes = [helper.make_node("NonMaxSuppression", ["x", "x"], ["y"])]
    file = save_graph(tmp_path / "detector.onnx", nodes, [("x", (1, 3, 64, 64))], [("y", (1, 3))])
    outcome = cli("import", file, "--mean", "0,0,0", "--std", "1,1,1", "--out", tmp_path / "made")
    assert outcome.code == 1
    assert "detector.onnx cannot be imported: the graph has the operator NonMaxSuppression" in outcome.err
    assert not (tmp_path / "made").exists()


def test_mean_and_std_are_required(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("import", "x.onnx", "--out", tmp_path / "made")
    assert outcome.code == 2
    assert "Missing option '--mean'" in outcome.err
