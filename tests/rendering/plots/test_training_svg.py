"""The picture of training runs: what it says in words, its scales, and that all of it is inside."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from wrn_deploy.errors import UsageError
from wrn_deploy.rendering.plots.training_log import Curves, EpochPoint
from wrn_deploy.rendering.plots.training_svg import describe_run, draw_training

SVG = "{http://www.w3.org/2000/svg}"


def run_of(errors: Sequence[float | None], name: str = "run") -> Curves:
    points = tuple(
        EpochPoint(
            epoch=index + 1,
            loss=2.0 / (index + 1),
            learning_rate=0.1,
            train_error=None if error is None else error / 2,
            test_error=error,
        )
        for index, error in enumerate(errors)
    )
    return Curves(name, Path("log.jsonl"), points)


LONG = [90.0 / (1 + index / 5) + index % 3 for index in range(200)]


@pytest.mark.parametrize(
    "runs",
    [
        [run_of([60.0])],
        [run_of([0.0, 0.0])],
        [run_of([None, None])],
        [run_of(LONG)],
        [run_of(LONG, "<&>" * 40), run_of([50.0, None, 40.0], "b"), run_of([3.0], "c")],
        [run_of(LONG, f"run {index}") for index in range(8)],
    ],
    ids=["one epoch", "no errors", "no tests", "200 epochs", "long name", "eight runs"],
)
def test_everything_is_inside_and_well_formed(runs: list[Curves]) -> None:
    root = ET.fromstring(draw_training(runs).to_file())
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for text in root.iter(f"{SVG}text"):
        x, y = float(text.attrib["x"]), float(text.attrib["y"])
        length = 7.2 * len(text.text or "")
        left = {"end": x - length, "middle": x - length / 2}.get(text.attrib.get("text-anchor", "start"), x)
        assert left > -4, text.text
        assert 0 < y < height, text.text
        if "title" not in text.attrib["class"]:
            assert left + length < width + 4, text.text
    described = root.findtext(f"{SVG}desc") or ""
    assert all(describe_run(run) in described for run in runs)
    assert "nan" not in ET.tostring(root, encoding="unicode")


def test_a_run_is_told_in_words() -> None:
    assert describe_run(run_of([60.0, 10.0, 12.5])) == (
        "run: 3 epochs, lowest test error 10.00 % after epoch 2, at the end 12.50 %, training error 6.25 %, loss 0.667"
    )
    assert describe_run(run_of([60.0])).startswith(
        "run: 1 epoch, lowest test error 60.00 % after epoch 1, training error"
    )


def _heights(svg: str, style: str) -> list[list[float]]:
    found = []
    for path in ET.fromstring(svg).iter(f"{SVG}path"):
        if path.attrib.get("class") == style:
            points = path.attrib["d"].replace("L", "M").split("M")[1:]
            found.append([float(point.split()[1]) for point in points])
    return found


def test_errors_that_differ_much_are_on_a_logarithmic_scale_on_which_training_error_may_fall_out() -> None:
    spread = [80.0, 40.0, 20.0, 10.0, 5.0]
    points = [dataclasses.replace(point, train_error=0.0) for point in run_of(spread).epochs]
    run = dataclasses.replace(run_of(spread), epochs=tuple(points))
    svg = draw_training([run]).to_file()
    assert "top-1 error, %, log scale" in svg
    steps = _heights(svg, "curve")[0]
    gaps = [after - before for before, after in itertools.pairwise(steps)]
    assert gaps == pytest.approx([gaps[0]] * 4, abs=0.2), "halving is the same way everywhere"
    (training,) = _heights(svg, "curve training")
    assert len(set(training)) == 1
    assert training[0] > steps[-1]


def test_a_line_is_broken_where_an_epoch_has_no_value() -> None:
    svg = draw_training([run_of([50.0, None, 40.0, 30.0])]).to_file()
    lines = [path.attrib["d"] for path in ET.fromstring(svg).iter(f"{SVG}path") if path.attrib.get("class") == "curve"]
    assert [line.count("M") for line in lines] == [2, 1, 1]


def test_more_runs_than_colours_are_refused() -> None:
    with pytest.raises(UsageError, match="9 runs: expected 8 at most"):
        draw_training([run_of([1.0])] * 9)
