"""Weights without a bundle: eval and predict, on images prepared as the weights expect."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Cli


def test_eval_prints_top_1_and_top_5_of_weights(cli: Cli, weights: Path) -> None:
    outcome = cli("eval", weights, "--data", "digits", "--threads", 1)
    assert outcome.code == 0
    assert all(word in outcome.out for word in ("top-1", "top-5", "95 % interval", " of 359 images)"))
    assert "preprocessing: 32x32, mean 0.3098,0.3098" in outcome.err
    assert "Accuracy of wrn-10-1 in PyTorch CPU" in outcome.err


def test_eval_of_weights_has_the_json_of_eval_of_a_bundle(cli: Cli, weights: Path, made_bundle: Path) -> None:
    limited = ("--data", "digits", "--limit", 40, "--threads", 1, "--json")
    alone, bundles = (
        cli("eval", weights, *limited).json(),
        cli("eval", made_bundle, *limited, "--backend", "torch").json(),
    )
    assert alone.keys() == bundles.keys()
    first, second = (record["rows"][0]["accuracy"] for record in (alone, bundles))
    assert (first["images"], first["correct"], first["correct5"]) == (40, second["correct"], second["correct5"])


def test_options_change_how_images_are_prepared(cli: Cli, weights: Path) -> None:
    changed = ("--mean", "0.5,0.5,0.5", "--std", "0.2,0.2,0.2", "--resize", 36)
    outcome = cli("eval", weights, "--data", "digits", "--limit", 8, "--threads", 1, *changed)
    assert "preprocessing: shorter side 36 (bilinear), centre 32x32, mean 0.5,0.5,0.5, std 0.2,0.2,0.2" in outcome.err


def test_predict_with_weights_and_with_their_bundle_is_the_same(
    cli: Cli, weights: Path, made_bundle: Path, pngs: Path
) -> None:
    files = sorted(pngs.iterdir())
    alone, bundles = (cli("predict", what, *files, "--json").json() for what in (weights, made_bundle))
    assert (alone["model"], alone["backend"], alone["precision"]) == ("wrn-10-1", "torch", "fp32")
    for one, other in zip(alone["images"], bundles["images"], strict=True):
        assert [scored["label"] for scored in one["best"]] == [scored["label"] for scored in other["best"]]


def test_options_for_the_other_kind_are_refused(cli: Cli, weights: Path, made_bundle: Path, pngs: Path) -> None:
    data, image = ("--data", "digits"), min(pngs.iterdir())
    for arguments in (
        ("eval", made_bundle, *data, "--model", "wrn-10-1"),
        ("eval", made_bundle, *data, "--resize", 40),
        ("eval", weights, *data, "--max-drop", 1),
        ("eval", weights, *data, "--backend", "onnxruntime"),
        ("predict", made_bundle, image, "--mean", "0.5,0.5,0.5"),
        ("predict", weights, image, "--precision", "int8"),
    ):
        outcome = cli(*arguments)
        assert outcome.code == 2, arguments
        assert "expected no" in outcome.err or "weights run in PyTorch alone" in outcome.err


def test_what_is_neither_there_nor_known_is_missed(cli: Cli) -> None:
    outcome = cli("eval", "no-such-thing", "--data", "digits")
    assert outcome.code == 1
    assert "no-such-thing" in outcome.err
