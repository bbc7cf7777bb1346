"""The page and its picture: complete, escaped, self-contained, and rendered by a browser where there is one."""

from __future__ import annotations

import dataclasses
import random
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from tests.bench.sample_reports import (
    FP32,
    FULL,
    HOSTILE,
    INT8,
    MACHINE,
    NO_ACCURACY,
    REASON,
    SKIPPED,
    make_report,
    measured,
)
from wrn_deploy.bench.axes import Axis
from wrn_deploy.bench.html import to_html
from wrn_deploy.bench.labels import Box, place_labels
from wrn_deploy.bench.report import Report
from wrn_deploy.bench.svg import picture
from wrn_deploy.bench.table import conditions
from wrn_deploy.machine import Gpu
from wrn_deploy.spec import Precision

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
VOID = {"meta", "link", "br", "hr", "img", "input"}

RANDOM = dataclasses.replace(FULL, random_weights=True)
REPORTS = {
    "full": FULL,
    "random weights": RANDOM,
    "no accuracy": NO_ACCURACY,
    "one row": make_report(FP32),
    "skipped": make_report(SKIPPED),
    "empty": make_report(),
}


class Page(HTMLParser):
    """Checks that tags are balanced, and keeps what tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS.keys())
def test_every_page_is_balanced_and_loads_nothing(report: Report) -> None:
    text = to_html(report)
    page = Page(text)
    assert page.tags.count("h1") == page.tags.count("main") == 1
    assert not {name for name, _ in page.attributes} & {"src", "href", "srcset", "action", "data", "onclick"}
    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)
    assert not re.search(r"https?:|url\(|@import", text)
    assert ("lang", "en") in page.attributes
    assert any(value is not None and value.startswith("width=device-width") for _, value in page.attributes)


def test_the_page_tells_readers_of_screens_what_it_shows() -> None:
    text = to_html(FULL)
    attributes = Page(text).attributes
    ids = [value for name, value in attributes if name == "id"]
    named = [part for name, value in attributes if name == "aria-labelledby" for part in (value or "").split()]
    assert len(ids) == len(set(ids))
    assert set(named) == set(ids)
    assert attributes.count(("role", "img")) == 2  # one for wide and one for narrow screens; never both are shown
    assert "Latency against top-1 accuracy at batch 1</title>" in text
    assert "ONNX Runtime int8: 1.20 ms median (1.08 to 1.30), top-1 97.50 %" in text
    assert attributes.count(("tabindex", "0")) == 2
    assert ("scope", "row") in attributes
    assert ("scope", "col") in attributes


def test_the_page_escapes_every_text_from_outside() -> None:
    row = dataclasses.replace(INT8, title=HOSTILE, artifact=HOSTILE, sha256=HOSTILE)
    skipped = dataclasses.replace(SKIPPED, skipped=HOSTILE)
    machine = dataclasses.replace(MACHINE, cpu=HOSTILE, system=HOSTILE, gpu=Gpu(HOSTILE, HOSTILE, 1, HOSTILE))
    report = dataclasses.replace(
        make_report(FP32, row, skipped, model=HOSTILE),
        machine=machine,
        data=HOSTILE,
        data_digest=HOSTILE,
        created=HOSTILE,
        corrupt=(HOSTILE,),
        reference=HOSTILE,
        versions={HOSTILE: HOSTILE},
    )
    text = to_html(report)
    assert "script" not in Page(text).tags
    assert "\x1b" not in text
    assert text.count("&lt;script&gt;") > 15


def test_the_page_shows_skipped_rows_artifacts_and_conditions() -> None:
    words = " ".join(Page(to_html(FULL)).words)
    assert f"skipped: {REASON}" in words
    assert "0123456789ab" in words
    assert "0123456789abc" not in words
    assert all(value in words for _, value in conditions(FULL))


def test_without_accuracy_latency_has_bars() -> None:
    for report in (NO_ACCURACY, make_report(FP32), RANDOM):
        drawn = picture(report, 600)
        assert "<rect" in drawn
        assert "Latency at batch 1</title>" in drawn
        assert "top-1 accuracy, %" not in drawn
    assert "<rect" not in picture(FULL, 600)
    assert picture(make_report(SKIPPED), 600) == ""


def test_a_wide_spread_has_a_log_axis() -> None:
    assert "log scale" not in picture(FULL, 600)
    assert "log scale" in picture(make_report(FP32, measured("Fast", Precision.INT8, 0.1, 350)), 600)


def test_ticks_are_round_numbers() -> None:
    assert Axis(0.0, 2.9, 0, 100).labelled_ticks()[:3] == [(0.0, "0.0"), (0.5, "0.5"), (1.0, "1.0")]
    assert Axis(0.4, 11, 0, 100, log=True).ticks() == [0.5, 1, 2, 5, 10]
    assert Axis(97.7, 98.7, 100, 0).ticks() == [97.8, 98.0, 98.2, 98.4, 98.6]
    assert Axis(1, 100, 0, 200, log=True).at(10) == pytest.approx(100)


@pytest.mark.parametrize("width", [360, 900])
@pytest.mark.parametrize("seed", range(10))
def test_labels_of_eight_points_never_overlap(seed: int, width: int) -> None:
    source = random.Random(seed)
    frame = Box(46, 30, width, 330)
    levels = [source.uniform(60, 300) for _ in range(3)]  # contenders often have the same accuracy
    points = [(source.uniform(50, width - 14), source.choice(levels)) for _ in range(8)]
    marks = [Box(x - 5.5, y - 5.5, x + 5.5, y + 5.5) for x, y in points]
    labels = place_labels(points, [source.uniform(80, 130) for _ in points], marks, frame)
    for index, label in enumerate(labels):
        assert label.outside(frame) == pytest.approx(0)
        assert sum(label.overlap(other) for other in (*labels[:index], *marks)) == pytest.approx(0)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on the PATH")
def test_chromium_renders_the_page(tmp_path: Path) -> None:
    page, shot = tmp_path / "page.html", tmp_path / "page.png"
    page.write_text(to_html(FULL), encoding="utf-8")
    offline = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic")
    headless = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars")
    files = (f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={shot}", "--window-size=1000,1200")
    command = [str(CHROMIUM), *headless, *offline, *files, page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    with Image.open(shot) as image:
        assert image.size == (1000, 1200)
        colours = {colour for _, colour in image.convert("RGB").getcolors(2**24) or []}
    assert {(0x3D, 0x6F, 0xB4), (0xC0, 0x5A, 0x1C)} <= colours  # the marks of fp32 and int8, as the style says
