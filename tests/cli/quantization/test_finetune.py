"""`wrn-deploy finetune`: its table, its JSON and its exit codes."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Cli, contents
from wrn_deploy.bundle import Bundle

FEW = ("--data", "digits", "--limit", 200, "--target", "onnxruntime", "--threads", 1, "--batch-size", 16)


def test_the_table_says_what_was_written_and_again_it_is_up_to_date(cli: Cli, bundle: Bundle) -> None:
    clipped = ("--calib-method", "percentile", "--percentile", 90, "--rounding", "nearest", "--calib-size", 16)
    assert cli("calibrate", bundle.folder, "--calib-data", "digits", *clipped).code == 0
    outcome = cli("finetune", bundle.folder, *FEW, "--steps", 12, "--lr", 0.1)
    assert outcome.code == 0, outcome.err
    assert "wrn-10-1 trained on digits" in outcome.out
    assert "held-out images of digits, fp32 " in outcome.out
    assert "<- written" in outcome.out
    assert "written: onnx-int8-onnxruntime" in outcome.out
    assert "Fine-tuning onnx-int8-onnxruntime on " in outcome.err
    again = cli("finetune", bundle.folder, *FEW, "--steps", 12, "--lr", 0.1)
    assert again.out == outcome.out
    assert "the fine-tuned int8 graphs are up to date" in again.err


def test_json_and_what_does_not_get_better_ends_with_3(cli: Cli, bundle: Bundle) -> None:
    before = contents(bundle.folder)
    outcome = cli("finetune", bundle.folder, *FEW, "--epochs", 0.01, "--lr", 1e-12, "--no-scales", "--json")
    assert outcome.code == 3
    assert '"kept": null' in outcome.out
    assert '"steps": 1' in outcome.out
    assert "no graph improved on" in outcome.err
    assert contents(bundle.folder) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--lr", -1), "--lr -1: expected a positive rate"),
        (("--epochs", "nan"), "--epochs nan: expected a positive number"),
        (("--loss", "mse"), "'mse' is not one of"),
        (("--steps", 0), "--steps"),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, tuple) else "",
)
def test_options_that_make_no_sense_end_with_2(
    cli: Cli, bundle: Bundle, arguments: tuple[object, ...], said: str
) -> None:
    outcome = cli("finetune", bundle.folder, *FEW, *arguments)
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.out == ""
