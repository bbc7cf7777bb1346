"""`--dry-run` of every command that has it: steps, what is up to date, sizes, times; and nothing is touched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli, contents
from wrn_deploy.cli.app import GROUPS, load_command
from wrn_deploy.cli.show.forecast import duration
from wrn_deploy.engines.flavor import installed_flavors

CALIBRATED = ["--calib-data", "digits", "--calib-size", "128"]
OF_A_BUNDLE: Mapping[str, list[str]] = {
    "calibrate": CALIBRATED,
    "build-engine": ["--fp16"],
    "bench": ["--data", "digits", "--limit", "100", "--duration", "2", "--batches", "1,4"],
    "tune": ["--data", "digits", "--max-drop", "1"],
    "finetune": ["--data", "digits", "--steps", "10"],
}
NEW = {
    "train": ["wrn-16-2", "--epochs", "3"],
    "export": ["wrn-50-2", "--random-weights"],
    "deploy": ["wrn-10-1", "--calib-data", "digits", "--data", "digits"],
}


def by_name(forecast: Any) -> dict[str, Any]:
    return {step["name"]: step for step in forecast["steps"]}


def test_these_commands_have_it() -> None:
    names = [name for commands in GROUPS.values() for name in commands]
    having = {name for name in names if any("--dry-run" in each.opts for each in load_command(name).params)}
    assert having == {*OF_A_BUNDLE, *NEW}


@pytest.mark.parametrize("command", OF_A_BUNDLE)
def test_a_bundle_is_not_touched(cli: Cli, made_bundle: Path, command: str) -> None:
    if command == "build-engine" and not installed_flavors():
        pytest.skip("no TensorRT")
    before = contents(made_bundle)
    forecast = cli(command, made_bundle, *OF_A_BUNDLE[command], "--dry-run", "--json").json()
    assert contents(made_bundle) == before
    assert forecast["free_bytes"] > 0
    assert all(step["about"] for step in forecast["steps"])
    shown = cli(command, made_bundle, *OF_A_BUNDLE[command], "--dry-run").out
    assert "nothing is written" in shown.partition("\n")[0]
    assert all(step["about"] in shown for step in forecast["steps"])


@pytest.mark.parametrize("command", NEW)
def test_nothing_is_made(cli: Cli, weights: Path, tmp_path: Path, command: str) -> None:
    arguments = [*NEW[command], "--out", tmp_path / "out", *(["--weights", weights] if command == "deploy" else [])]
    forecast = cli(command, *arguments, "--dry-run", "--json").json()
    assert [*tmp_path.iterdir()] == []
    assert forecast["size_bytes"] == sum(size for step in forecast["steps"] for size in step["files"].values()) > 0
    assert forecast["seconds"] > 0


def test_what_is_up_to_date_is_named(cli: Cli, made_bundle: Path, weights: Path) -> None:
    given = ["deploy", "wrn-10-1", "--weights", weights, "--out", made_bundle, "--dry-run", "--json"]
    steps = by_name(cli(*given, *CALIBRATED).json())
    assert steps["export"]["up_to_date"] is True
    assert steps["calibrate"]["up_to_date"] is True
    steps = by_name(cli(*given, "--calib-data", "digits", "--calib-size", "64").json())
    assert steps["export"]["up_to_date"] is True
    assert steps["calibrate"]["up_to_date"] is False
    steps = by_name(cli(*given, *CALIBRATED, "--resize", "40").json())
    assert steps["export"]["up_to_date"] is False


def test_sizes_are_about_those_of_the_files(cli: Cli, made_bundle: Path, weights: Path, tmp_path: Path) -> None:
    given = ["deploy", "--weights", weights, *CALIBRATED, "--out", tmp_path / "new", "--dry-run", "--json"]
    for step in cli(*given).json()["steps"][:2]:
        for name, size in step["files"].items():
            real = (made_bundle / name).stat().st_size  # a small graph is not weights alone
            assert 0.6 * size < real < 1.6 * size, name


def test_the_time_of_bench_is_that_of_its_candidates(cli: Cli, made_bundle: Path) -> None:
    given = ["bench", made_bundle, "--data", "digits", "--batches", "1,4", "--dry-run", "--json"]
    seconds = by_name(cli(*given, "--duration", "2").json())["time"]["time"]["seconds"]
    longer = by_name(cli(*given, "--duration", "12").json())["time"]["time"]["seconds"]
    assert longer == seconds * (12 + 1) / (2 + 1)
    limited = by_name(cli(*given, "--duration", "12", "--time-limit", "5").json())["time"]["time"]
    assert (limited["seconds"], limited["basis"]) == (5, "--time-limit")


def test_what_would_be_refused_is(cli: Cli, made_bundle: Path, tmp_path: Path) -> None:
    assert cli("calibrate", made_bundle, "--calib-data", tmp_path / "no", "--dry-run").code == 1
    assert cli("export", "wrn-17-2", "--random-weights", "--out", tmp_path / "b", "--dry-run").code == 1


@pytest.mark.parametrize(("seconds", "said"), [(0, "0 s"), (0.2, "1 s"), (99.4, "99 s"), (600, "10 min"), (9e3, "2 h")])
def test_times_are_said_roughly(seconds: float, said: str) -> None:
    assert duration(seconds) == said
