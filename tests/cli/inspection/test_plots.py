"""plot-training and plot-model on the command line: the file, the table, JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Cli


def test_plot_training_draws_and_shows_the_last_epochs(cli: Cli, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "curves.svg"
    outcome = cli("plot-training", str(trained), "--out", str(out))
    assert outcome.code == 0
    assert f"picture: {out}" in outcome.err
    assert "<- lowest" in outcome.out
    assert "test error, first to last epoch: " in outcome.out
    assert out.read_text(encoding="utf-8").count("<title>") >= 4
    logged = [json.loads(line) for line in (trained / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    (run,) = json.loads(cli("plot-training", str(trained), "--out", str(out), "--json").out)
    assert [point["loss"] for point in run["epochs"]] == [line["loss"] for line in logged]
    assert not (trained / "training.svg").exists()


def test_plot_training_of_no_run_is_an_error(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("plot-training", str(tmp_path))
    assert outcome.code == 1
    assert "no training log can be read" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_plot_model_draws_and_shows_the_blocks(cli: Cli, made_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.svg"
    outcome = cli("plot-model", str(made_bundle), "--precision", "int8", "--out", str(out))
    assert outcome.code == 0
    assert all(name in outcome.out for name in ("block1.0", "block2.0", "int8", "global average pool"))
    assert "quantized tensor" in out.read_text(encoding="utf-8")
    network = json.loads(cli("plot-model", str(made_bundle), "--unfold", "--out", str(out), "--json").out)
    assert network["macs"] == sum(layer["macs"] for layer in network["layers"]) > 0


def test_plot_model_with_a_precision_of_a_graph_is_wrong_usage(cli: Cli, made_bundle: Path) -> None:
    outcome = cli("plot-model", str(made_bundle / "fp32.onnx"), "--precision", "fp16")
    assert outcome.code == 2
    assert "expected it only with a bundle" in outcome.err
