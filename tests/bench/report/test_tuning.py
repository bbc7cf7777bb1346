"""What tuning measured, as data: budgets and records."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tests.bench.sample_tuning import TRIALS, TUNING
from wrn_deploy.bench.report.tuning import Budget, Score, Trial, read_tuning
from wrn_deploy.errors import DeployError


@pytest.mark.parametrize(("correct", "same", "met"), [(929, 990, True), (928, 990, False), (929, 989, False)])
def test_the_budget_is_met_to_the_image(correct: int, same: int, met: bool) -> None:
    """0.1 points of 1000 images are one image, whatever the binary fractions say."""
    assert Budget(0.1, 99.0).met(Score(1000, correct, same, 0.1), TUNING.reference) is met


def test_the_frontier_is_the_ladder_and_the_chosen_set() -> None:
    assert [len(trial.float_convs) for trial in TUNING.ladder] == [0, 1, 2, 3]
    assert TUNING.frontier == TUNING.ladder
    other = dataclasses.replace(TUNING, chosen=TRIALS[2])
    assert other.frontier == list(TRIALS)


def test_the_uncertainty_is_that_of_the_answers_that_differ() -> None:
    assert TUNING.drop(TRIALS[1].score) == pytest.approx(0.2)
    assert TUNING.uncertainty(TRIALS[1].score) == pytest.approx(100 * 15**0.5 / 1000)
    assert TUNING.uncertainty(TUNING.reference) == 0.0


@pytest.mark.parametrize("chosen", [TRIALS[1], None])
def test_a_record_is_read_as_it_was_written(tmp_path: Path, chosen: Trial | None) -> None:
    tuning = dataclasses.replace(TUNING, chosen=chosen)
    (tmp_path / "tuning.json").write_text(tuning.to_json(), encoding="utf-8")
    assert read_tuning(tmp_path / "tuning.json") == tuning
    trial = json.loads(tuning.to_json())["trials"][1]
    assert (trial["meets"], trial["score"]["top1"], trial["score"]["agreement"]) == (True, 0.928, 0.985)


def test_a_graph_that_is_better_than_fp32_is_read_too(tmp_path: Path) -> None:
    reference = TUNING.reference
    score = Score(reference.images, reference.correct + 1, reference.images - 1, 0.1)
    tuning = dataclasses.replace(TUNING, chosen=dataclasses.replace(TRIALS[1], score=score))
    (tmp_path / "tuning.json").write_text(tuning.to_json(), encoding="utf-8")
    assert json.loads(tuning.to_json())["chosen"]["score"]["drop"] == pytest.approx(-0.1)
    assert read_tuning(tmp_path / "tuning.json") == tuning


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1}', '{"format": 2}'], ids=str)
def test_a_damaged_record_says_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "tuning.json").write_text(text, encoding="utf-8")
    with pytest.raises(DeployError, match=r"`wrn-deploy tune`.* again"):
        read_tuning(tmp_path / "tuning.json")
