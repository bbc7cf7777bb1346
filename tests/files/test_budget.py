"""The limits: what they refuse, what they say, and how they are raised."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from wrn_deploy.cli.app import app
from wrn_deploy.errors import DamagedFile, OverLimit, UsageError
from wrn_deploy.files.budget import VARIABLE, Budget, budget, parse_limits, raised
from wrn_deploy.files.text import read_json


def test_the_error_names_the_limit_and_how_to_raise_it() -> None:
    with pytest.raises(OverLimit) as caught:
        Budget().check("pixels", 178_000_000, "a.png")
    assert str(caught.value) == (
        "a.png needs 178,000,000 pixels: the limit is 100,000,000; if you trust the file, raise it with "
        "`wrn-deploy --limit pixels=200000000 ...` or WRN_DEPLOY_LIMITS=pixels=200000000"
    )
    assert isinstance(caught.value, DamagedFile)


def test_the_help_and_the_documentation_list_every_limit_with_its_default() -> None:
    page = (Path(__file__).parents[2] / "docs" / "explanation" / "trust.md").read_text(encoding="utf-8")
    shown = typer.main.get_command(app).params
    (text,) = (getattr(parameter, "help", "") for parameter in shown if "--limit" in parameter.opts)
    sizes = {256 * 2**20: "256 MiB", 4 * 2**30: "4 GiB", 16 * 2**30: "16 GiB"}
    for field in dataclasses.fields(Budget):
        default = getattr(Budget(), field.name)
        assert field.name in text
        assert f"| `{field.name}` | {sizes.get(default, f'{default:,}')} |" in page


@pytest.mark.parametrize("amount", [-1, -(2**63), float("nan"), float("inf"), 10**400])
def test_no_impossible_amount_passes(amount: float) -> None:
    with pytest.raises(OverLimit):
        Budget().check("members", amount, "a.tar")


@pytest.mark.parametrize("amount", [0, 100_000_000])
def test_what_is_allowed_passes(amount: int) -> None:
    Budget().check("pixels", amount, "a.png")


def test_the_ratio_counts_above_64_mib() -> None:
    small = Budget()
    small.check_inflated(64 * 2**20, 1, "zeros.gz")
    small.check_inflated(200 * 2**20, 2**20, "a.gz")
    with pytest.raises(OverLimit, match="ratio"):
        small.check_inflated(201 * 2**20, 2**20, "a.gz")
    with pytest.raises(OverLimit, match="memory_bytes"):
        small.check_inflated(17 * 2**30, 2**30, "a.gz")
    assert small.inflated_bytes(1) == 64 * 2**20
    assert small.inflated_bytes(2**20) == 200 * 2**20


def test_limits_are_raised_for_a_while_and_for_children() -> None:
    code = "from wrn_deploy.files.budget import budget; print(budget().pixels, budget().seconds)"
    with raised("pixels=2e8"), raised("seconds=7"):
        assert budget() == Budget(pixels=200_000_000, seconds=7)
        child = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        assert child.stdout.split() == ["200000000", "7"]
    assert budget() == Budget()
    assert VARIABLE not in os.environ


@pytest.mark.parametrize(
    "text",
    [
        "pixel=3",
        "pixels=",
        "pixels=0",
        "pixels=-1",
        "pixels=nan",
        "pixels=inf",
        "pixels",
        "pixels=1e19",
        "seconds=1e10",
    ],
)
def test_other_limits_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected NAME=NUMBER") as caught:
        parse_limits(text)
    assert "pixels=100000000" in str(caught.value)


def test_a_huge_limit_takes_no_memory(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1]")
    with raised("text_bytes=1e18"):
        assert read_json(tmp_path / "a.json") == [1]
