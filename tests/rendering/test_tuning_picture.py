"""The picture of what tuning found: whole, and the same in words."""

from __future__ import annotations

import dataclasses
from xml.etree import ElementTree as ET

import pytest

from tests.bench.sample_tuning import TRIALS, TUNING
from wrn_deploy.bench.report.tuning import Budget
from wrn_deploy.rendering.pictures.tuning import draw_tuning

SVG = "{http://www.w3.org/2000/svg}"


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
def test_the_picture_is_whole_and_describes_what_it_shows(change: dict[str, object]) -> None:
    tuning = dataclasses.replace(TUNING, **change)  # type: ignore[arg-type]
    root = ET.fromstring(draw_tuning(tuning).to_file())
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title") == f"{tuning.model}: accuracy against the share of work in int8"
    described = root.findtext(f"{SVG}desc") or ""
    assert "Top-1 of fp32 on 1000 images: 93.00 %" in described
    assert ("(chosen)" in described) is (tuning.chosen is not None)
    text = "".join(root.itertext())
    assert ("RANDOM WEIGHTS" in text) is tuning.random_weights
    assert ("chosen: 1 of 3 Convs in fp16" in text) is (tuning.chosen is not None)
    assert not root.findall(f".//{SVG}script")
