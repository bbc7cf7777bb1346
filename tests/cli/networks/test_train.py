"""The train command: recipes by name, single values over them, what it prints, and what it refuses."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cli.conftest import Cli
from wrn_deploy.data import Role, open_data


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Thirty digits."""
    items = [item for item, _ in zip(open_data("digits", Role.TRAIN).items(), range(30), strict=False)]
    file = tmp_path_factory.mktemp("few") / "few.npz"
    np.savez(file, images=np.stack([item.load() for item in items]), labels=np.array([item.label for item in items]))
    return str(file)


def test_a_recipe_by_name_and_single_values_over_it(cli: Cli, few: str, tmp_path: Path) -> None:
    options = ("--epochs", "2", "--batch-size", "10", "--seed", "3", "--no-decay-norms", "--amp", "bf16", "--json")
    outcome = cli("train", "wrn-10-1", "--data", few, "--out", str(tmp_path), "--recipe", "one-cycle", *options)
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    assert result["weights"] == str(tmp_path / "weights.safetensors")
    assert result["best"] == str(tmp_path / "best.safetensors")
    assert result["best_top1"] >= result["test_top1"]
    run = json.loads((tmp_path / "run.json").read_text())
    recipe = run["recipe"]
    assert (recipe["epochs"], recipe["batch_size"], recipe["seed"], recipe["decay_norms"]) == (2, 10, 3, False)
    assert (recipe["schedule"], recipe["label_smoothing"]) == ("one-cycle", 0.1)
    assert run["sessions"][0]["amp"] == "bf16"
    assert "epoch 2 of 2: loss" in outcome.err
    assert "about" in outcome.err
    assert "images/s" in outcome.err


def test_the_svhn_recipe_divides_by_255_and_drops_out(cli: Cli, few: str, tmp_path: Path) -> None:
    outcome = cli("train", "wrn-10-1", "--data", few, "--out", str(tmp_path), "--recipe", "svhn", "--epochs", "1")
    assert outcome.code == 0, outcome.err
    spec = json.loads((tmp_path / "run.json").read_text())["spec"]
    assert (spec["preprocessing"]["mean"], spec["preprocessing"]["std"]) == ([0, 0, 0], [1, 1, 1])
    assert spec["dropout"] == 0.4
    assert "Measuring mean" not in outcome.err


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--recipe", "papr"), "'papr' (did you mean paper?)"),
        (("--amp", "int8"), "'int8' is not one of 'bf16', 'fp16'"),
        (("--compile", "--checkpointing"), "expected one; torch.compile"),
        (("--label-smoothing", "1"), "label smoothing 1.0: expected fractions"),
        (("--recipe", "imagenet", "--shift", "4"), "shift 4 with resized crops: expected 0"),
    ],
)
def test_what_cannot_be_is_refused(cli: Cli, few: str, tmp_path: Path, options: tuple[str, ...], text: str) -> None:
    outcome = cli("train", "wrn-10-1", "--data", few, "--out", str(tmp_path / "run"), *options)
    assert outcome.code == 2
    assert text in " ".join(outcome.err.replace("│", " ").split())
    assert not (tmp_path / "run").exists()


def test_a_gpu_that_is_not_there_ends_with_code_4(cli: Cli, few: str, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    outcome = cli("train", "wrn-10-1", "--data", few, "--out", str(tmp_path / "run"), "--device", "cuda")
    assert outcome.code == 4
    assert "--device cuda" in outcome.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "code", "text"), [("nin", 0, "1,007,242 parameters"), ("nine", 1, "unknown model 'nine'")]
)
def test_one_of_several_processes_says_all_and_ends_with_its_code(
    start: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch, model: str, code: int, text: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    process = start("models", model)
    out, err = process.communicate()
    assert text in out + err
    assert process.returncode == code
