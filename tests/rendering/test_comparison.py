"""The page and the tables of a comparison: what changed, and the history of all reports."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from tests.bench.sample_reports import FP32, FULL, HOSTILE, SKIPPED, make_report, measured
from wrn_deploy.bench.report.compare import compare_reports
from wrn_deploy.rendering.comparison import NamedReport, changes, comparison_tables, comparison_to_html
from wrn_deploy.rendering.pictures.history import draw_history, medians
from wrn_deploy.spec import Precision

SLOWER = make_report(FP32, measured("ONNX Runtime", Precision.INT8, 1.8, 340), SKIPPED)
MIDDLE = make_report(measured("ONNX Runtime", Precision.INT8, 1.5, 350))
NAMED = tuple(NamedReport(f"{name}.json", report) for name, report in (("a", FULL), ("b", MIDDLE), ("c", SLOWER)))
REPORTS = [named.report for named in NAMED]


def test_the_history_has_what_two_reports_or_more_have() -> None:
    assert medians(REPORTS, 1) == {"PyTorch fp32": {0: 2.52, 2: 2.52}, "ONNX Runtime int8": {0: 1.2, 1: 1.5, 2: 1.8}}
    assert medians([FULL, make_report()], 1) == {}
    table = changes(NAMED, 1)
    assert table.headers == ("Candidate", "1", "2", "3")
    assert [line.cells for line in table.lines] == [
        ("PyTorch fp32", "2.52", "", "2.52"), ("ONNX Runtime int8", "1.20", "1.50", "1.80"),
    ]  # fmt: skip


@pytest.mark.parametrize("width", [900, 336])
def test_the_picture_has_a_place_a_report(width: int) -> None:
    drawn = draw_history(REPORTS, 1, width)
    assert drawn is not None
    assert "ONNX Runtime int8: 1.20 ms in report 1, 1.50 ms in report 2, 1.80 ms in report 3" in drawn.described
    tree = ET.fromstring(drawn.inline("one"))
    texts = [node.text for node in tree.iter("text")]
    assert {"1", "2", "3", "report", "median at batch 1, ms"} <= set(texts)
    assert sum(node.get("class") == "mark int8" for node in tree.iter("path")) == 3
    assert draw_history([FULL, make_report()], 1, width) is None


def test_the_page_has_everything_and_loads_nothing() -> None:
    page = comparison_to_html(compare_reports(FULL, SLOWER), ["A and B are separate runs."], NAMED)
    opened: list[str] = []

    class Page(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            del attrs
            if tag != "meta":
                opened.append(tag)

        def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            del tag, attrs

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    Page().feed(page)
    assert not opened
    for words in (
        "1.50x the time",
        "worse",
        "A and B are separate runs.",
        "a.json, 2025-11-20",
        "Batch 8",
        "3 reports",
    ):
        assert words in page, words
    assert not re.search(r"https?:|url\(|<script|src=", page)
    assert "default-src 'none'" in page


def test_texts_from_outside_are_escaped() -> None:
    report = make_report(measured(HOSTILE, Precision.FP32, 1.0, 300), model=HOSTILE)
    page = comparison_to_html(compare_reports(report, report), [HOSTILE], (NamedReport(HOSTILE, report),) * 2)
    assert "<script" not in page
    assert "\x1b" not in page


def test_tables_without_lines_are_left_out() -> None:
    assert [table.name for table in comparison_tables(compare_reports(FULL, SLOWER))] == ["times", "answers"]
    assert comparison_tables(compare_reports(FULL, make_report())) == ()
