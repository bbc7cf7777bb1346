"""The page and its picture: complete, escaped, self-contained, and rendered by a browser if one is installed."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import re
from html.parser import HTMLParser

import pytest

from tests.bench.full_report import make_full_report
from tests.bench.hostile_report import make_hostile_report
from tests.bench.sample_reports import FP32, FULL, HOSTILE, INT8, NO_ACCURACY, REASON, SKIPPED, make_report
from wrn_deploy.bench.report.report import Report
from wrn_deploy.bench.report.scores import ChangedImage
from wrn_deploy.rendering.html import files_of, to_html
from wrn_deploy.rendering.notes import environment

VOID = {"meta", "link", "br", "hr", "img", "input"}

RANDOM = dataclasses.replace(FULL, random_weights=True)
REPORTS = {
    "full": FULL,
    "random weights": RANDOM,
    "no accuracy": NO_ACCURACY,
    "one row": make_report(FP32),
    "skipped": make_report(SKIPPED),
    "empty": make_report(),
    "whole": make_full_report(),
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
    text = to_html(report, "bench")
    assert text.startswith("<!doctype html>\n<html")
    assert text.endswith("</html>\n")
    page = Page(text)
    assert page.tags.count("h1") == page.tags.count("main") == 1
    assert not {name for name, _ in page.attributes} & {"srcset", "action", "data", "onclick", "style"}
    beside = set(files_of("bench").values())
    assert all((value or "").startswith("#") or value in beside for name, value in page.attributes if name == "href")
    assert all((value or "").startswith("data:image/png;base64,") for name, value in page.attributes if name == "src")
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert not re.search(r"https?:|url\(|@import", text)
    assert ("lang", "en") in page.attributes
    assert any(value is not None and value.startswith("width=device-width") for _, value in page.attributes)


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS.keys())
def test_the_page_allows_its_own_style_and_pictures_alone(report: Report) -> None:
    text = to_html(report)
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert text.index(policy) < text.index(style), "a policy holds for what comes after it"
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'", f"style-src 'sha256-{digest}'", "img-src data:", "base-uri 'none'", "form-action 'none'",
    ]  # fmt: skip


def test_the_page_tells_readers_of_screens_what_it_shows() -> None:
    text = to_html(FULL)
    attributes = Page(text).attributes
    ids = [value for name, value in attributes if name == "id"]
    named = [part for name, value in attributes if name == "aria-labelledby" for part in (value or "").split()]
    assert len(ids) == len(set(ids))
    assert set(named) <= set(ids)
    assert attributes.count(("role", "img")) == text.count("<svg") > 0
    assert "Latency against top-1 accuracy at batch 1</title>" in text
    assert "ONNX Runtime int8: 1.20 ms median (1.08 to 1.32), top-1 97.50 %" in text
    assert (
        "slower or less accurate than: ONNX Runtime int8. Not decided, within the intervals, for: PyTorch fp32</desc>"
        in text
    )
    regions = attributes.count(("class", "scroll"))
    assert (
        regions == attributes.count(("tabindex", "0")) == attributes.count(("role", "region")) == text.count("<caption")
    )
    assert ("scope", "row") in attributes
    assert ("scope", "col") in attributes


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS.keys())
def test_headings_and_landmarks_are_in_order(report: Report) -> None:
    page = Page(to_html(report))
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(below - above <= 1 for above, below in itertools.pairwise(levels))
    landmarks = [tag for tag in page.tags if tag in ("header", "nav", "main")]
    assert landmarks == ["header", "nav", "main"]
    links = {(value or "")[1:] for name, value in page.attributes if name == "href"}
    assert links <= {value for name, value in page.attributes if name == "id"}


def test_the_page_can_be_shared() -> None:
    text = to_html(FULL, "bench")
    attributes = Page(text).attributes
    assert {"bench.json", "bench.csv", "bench.md", "bench-summary.png", "bench-badge.svg"} <= {
        value for name, value in attributes if name == "href"
    }
    assert '<meta property="og:image" content="bench-summary.png">' in text
    assert '<meta property="og:title" content="wrn-16-4: Benchmark on digits, 360 images, 2025-11-20">' in text
    assert "wrn-deploy bench BUNDLE --data digits" in text
    assert "bench.json" not in to_html(FULL)
    assert "og:image" not in to_html(FULL)


def test_the_page_begins_with_three_numbers_and_a_chart() -> None:
    words = [word.strip() for word in Page(to_html(FULL)).words if word.strip()]
    start = words.index("2.1x")
    assert words[start : start + 3] == ["2.1x", "as fast at batch 1", "95 % interval 2.1x to 2.1x"]
    assert {"0.83", "points of top-1 lost", "same", "size of the file"} <= set(words)
    assert 'id="best-wide-title"' in to_html(FULL)


def test_severities_are_told_apart() -> None:
    assert 'class="remark caution"' in to_html(make_full_report())
    assert 'class="remark distrust"' in to_html(RANDOM)
    assert "remark " not in to_html(FULL).partition("</style>")[2]


def test_the_page_escapes_every_text_from_outside() -> None:
    report = make_hostile_report(HOSTILE)
    text = to_html(report)
    page = Page(text)
    assert not {"script", "img"} & set(page.tags)
    assert "\x1b" not in text
    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 40
    unknown = to_html(dataclasses.replace(report, reference=HOSTILE, baseline=HOSTILE))
    assert "<script" not in unknown


def test_images_that_changed_are_pictures_with_words() -> None:
    text = to_html(make_full_report())
    shown = re.findall(r'<img class="squares" alt="([^"]+)" width="96" height="96" src="data:image/png;base64,', text)
    assert len(shown) == text.count("<img") > 10
    assert all(re.fullmatch(r"val_\d+\.JPEG: .+, before .+, now .+", words) for words in shown)
    assert "29 images of 1000 were classified differently from the reference; 10 of them are shown." in text


def test_what_is_no_png_is_not_shown() -> None:
    assert INT8.accuracy is not None
    for png in ("", "not base64", base64.b64encode(b"<svg onload=alert(1)>").decode(), "aGk=" * 9):
        changed = (ChangedImage(name="a.png", label="cat", before="cat", after="dog", png=png),)
        row = dataclasses.replace(INT8, accuracy=dataclasses.replace(INT8.accuracy, changed=changed, changed_count=1))
        text = to_html(make_report(FP32, row))
        assert "<img" not in text
        assert "no picture" in text
        assert "cat" in text


def test_the_page_shows_skipped_rows_artifacts_and_conditions() -> None:
    words = " ".join(Page(to_html(FULL)).words)
    assert f"skipped: {REASON}" in words
    assert "0123456789ab" in words
    assert "0123456789abc" not in words
    assert all(value in words for _, value in environment(FULL))
