"""What tuning measured, as data and as a picture: budgets, records, and an SVG that tells what it shows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from wrn_deploy.bench.report.tuning import Budget, Layer, Score, Trial, Tuning, read_tuning
from wrn_deploy.errors import DeployError
from wrn_deploy.rendering.pictures.tuning import draw_tuning

SVG = "{http://www.w3.org/2000/svg}"
TRIALS = (
    Trial((), 1.0, Score(1000, 700, 720, 2.5)),
    Trial(("b",), 0.9, Score(1000, 928, 985, 0.25)),
    Trial(("a",), 0.7, Score(1000, 701, 722, 2.0)),
    Trial(("a", "b"), 0.6, Score(1000, 930, 996, 0.125)),
    Trial(("a", "b", "c"), 0.0, Score(1000, 930, 1000, 0.0)),
)
TUNING = Tuning(
    model="wrn-10-1",
    random_weights=False,
    data="digits",
    sensitivity_data="digits",
    budget=Budget(0.5, None),
    reference=Score(1000, 930, 1000, 0.0),
    layers=tuple(Layer(name, 100, Score(8, 8, 8, error)) for name, error in (("b", 3.0), ("a", 2.0), ("c", 1.0))),
    trials=TRIALS,
    chosen=TRIALS[1],
)


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


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1}', '{"format": 2}'], ids=str)
def test_a_damaged_record_says_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "tuning.json").write_text(text, encoding="utf-8")
    with pytest.raises(DeployError, match=r"run `wrn-deploy tune` again"):
        read_tuning(tmp_path / "tuning.json")


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"chosen": None},
        {"chosen": TRIALS[2]},
        {"model": "<&>", "random_weights": True},
        {"budget": Budget(None, 99.0)},
        {"trials": (dataclasses.replace(TRIALS[4], int8_share=1.0),), "chosen": None},
    ],
    ids=str,
)
def test_the_picture_is_whole_and_tells_what_it_shows(change: dict[str, object]) -> None:
    tuning = dataclasses.replace(TUNING, **change)  # type: ignore[arg-type]
    root = ET.fromstring(draw_tuning(tuning).to_file())
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title") == f"{tuning.model}: accuracy against the share of work in INT8"
    told = root.findtext(f"{SVG}desc") or ""
    assert "Top-1 of fp32 on 1000 images: 93.00 %" in told
    assert ("(chosen)" in told) is (tuning.chosen is not None)
    text = "".join(root.itertext())
    assert ("RANDOM WEIGHTS" in text) is tuning.random_weights
    assert ("chosen: 1 of 3 Convs in fp16" in text) is (tuning.chosen is not None)
    assert not root.findall(f".//{SVG}script")
