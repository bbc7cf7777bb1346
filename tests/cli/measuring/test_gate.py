"""The accuracy gate of eval: exit code 3, after the table that shows why."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from wrn_deploy.bundle import Bundle

pytestmark = pytest.mark.usefixtures("no_torch")  # fp32 is measured with ONNX Runtime then

DATA = ("--data", "digits", "--backend", "onnxruntime", "--threads", 1)


def test_it_fails_where_int8_loses_too_much(cli: Cli, bundle: Bundle) -> None:
    clipped = ("--calib-method", "percentile", "--percentile", 50, "--calib-size", 16, "--rounding", "nearest")
    assert cli("calibrate", bundle.folder, "--calib-data", "digits", *clipped).code == 0
    outcome = cli("eval", bundle.folder, *DATA, "--max-drop", 1)
    assert outcome.code == 3
    assert "ONNX Runtime CPU int8" in outcome.out
    assert "points of top-1" in outcome.err
    assert "expected at most 1; calibrate with more images or another --calib-method" in outcome.err


def test_it_holds_where_int8_is_good(cli: Cli, made_bundle: Path) -> None:
    assert cli("eval", made_bundle, *DATA, "--max-drop", 2).code == 0


def test_it_needs_something_to_compare(cli: Cli, made_bundle: Path) -> None:
    outcome = cli("eval", made_bundle, "--data", "digits", "--precision", "fp16", "--max-drop", 1)
    assert outcome.code in (3, 4)  # 4 where no plan can be run: fp16 was asked for by name
    assert outcome.err
