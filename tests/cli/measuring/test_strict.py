"""bench --strict: exit code 3 after the reports are written and printed, if a ratio does not hold."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tests.bench.sample_reports import FULL
from tests.cli.conftest import Cli
from wrn_deploy.bench.report.environment import Environment, Snapshot
from wrn_deploy.bench.report.report import Report
from wrn_deploy.pipeline.measuring import measure
from wrn_deploy.rendering.html import files_of


def disturbed(taken: float) -> Report:
    return dataclasses.replace(FULL, environment=Environment(before=Snapshot(), after=Snapshot(), taken={1: taken}))


@pytest.mark.parametrize(
    ("taken", "words", "code"),
    [(0.0, "2.1x as fast", 0), (0.2, "at least 2.1x as fast", 3), (0.6, "too noisy to conclude", 3)],
)
def test_a_ratio_that_does_not_hold_ends_with_3(
    cli: Cli, made_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: float, words: str, code: int
) -> None:
    monkeypatch.setattr(measure, "bench_bundle", lambda *_: disturbed(taken))
    command = ("bench", made_bundle, "--data", "digits", "--out", tmp_path)
    assert cli(*command).code == 0, "only with --strict"
    outcome = cli(*command, "--strict")
    assert outcome.code == code
    assert words in " ".join(outcome.out.split())
    assert ("--strict: " in outcome.err) is (code == 3)
    assert json.loads((tmp_path / "bench.json").read_text())["derived"][1]["ratios"]["1"]["words"] == words
    assert {file.name for file in tmp_path.iterdir()} == set(files_of("bench").values())
