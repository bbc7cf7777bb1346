"""The interface of the graphs on the command line: the options of export, and what predict says of top classes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Cli
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.spec import Interface


@pytest.fixture
def digit(tmp_path: Path) -> Path:
    Image.fromarray(next(iter(open_data("digits", Role.TEST).items())).load()).save(tmp_path / "digit.png")
    return tmp_path / "digit.png"


def test_the_options_of_export_are_in_the_bundle(cli: Cli, weights: Path, tmp_path: Path) -> None:
    options = ("--pixels", "--top-k", 2, "--features", "--feature-maps")
    outcome = cli("export", "wrn-10-1", "--weights", weights, "--out", tmp_path / "bundle", *options)
    assert outcome.code == 0, outcome.err
    names = "top_logits, top_classes, features, feature_map_1, feature_map_2, feature_map_4"
    assert f"fp16, uint8 images to {names}: largest error" in outcome.err
    wanted = Interface(pixels=True, top_k=2, features=64, feature_maps=((16, 32, 32), (32, 16, 16), (64, 8, 8)))
    assert Bundle.open(tmp_path / "bundle").spec.interface == wanted
    shown = cli("inspect", tmp_path / "bundle" / "fp16.onnx").out
    assert "feature_map_2: float batch x 32 x 16 x 16" in shown


def test_more_top_classes_than_there_are_is_wrong_usage(cli: Cli, weights: Path, tmp_path: Path) -> None:
    outcome = cli("export", "wrn-10-1", "--weights", weights, "--out", tmp_path / "bundle", "--top-k", 11)
    assert outcome.code == 2
    assert "--top-k 11: expected 1 to 10, the number of classes" in outcome.err


def test_predict_says_that_its_scores_are_logits(cli: Cli, made_interface_bundle: Path, digit: Path) -> None:
    text = cli("predict", made_interface_bundle, digit, "--backend", "onnxruntime").out
    assert "Scores are logits: this bundle outputs only its best classes" in text
    assert len(text.splitlines()) == 3 + 3  # what ran, what the scores are, the image, and all that the bundle gives
    shown = cli("predict", made_interface_bundle, digit, "--backend", "onnxruntime", "--top-k", 1, "--json").json()
    assert shown["scores"] == "logit"
    assert len(shown["images"][0]["best"]) == 1


def test_predict_says_nothing_of_probabilities(cli: Cli, made_bundle: Path, digit: Path) -> None:
    outcome = cli("predict", made_bundle, digit, "--backend", "onnxruntime", "--json")
    assert outcome.json()["scores"] == "softmax"
    assert "logits" not in cli("predict", made_bundle, digit, "--backend", "onnxruntime").out
