"""The renderings of a report as text: cells, summary, terminal and Markdown."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from tests.bench.sample_reports import FP32, FULL, HOSTILE, INT8, MACHINE, NO_ACCURACY, REASON, SKIPPED, make_report
from wrn_deploy.bench.html import to_html
from wrn_deploy.bench.markdown import to_markdown
from wrn_deploy.bench.report import Report
from wrn_deploy.bench.summary import sentence
from wrn_deploy.bench.table import RANDOM_WEIGHTS, cells, conditions, digits, file_size, one_line, percent
from wrn_deploy.bench.text import print_report
from wrn_deploy.machine import Gpu


def to_text(report: Report, width: int = 100) -> str:
    file = io.StringIO()
    print_report(report, Console(file=file, width=width))
    return file.getvalue()


RENDERINGS: dict[str, Callable[[Report], str]] = {"text": to_text, "markdown": to_markdown, "html": to_html}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00"), (0.01234, "0.0123"), (1.2, "1.20"), (9.999, "10.0"), (99.96, "100"), (12345.0, "12300")],
)
def test_numbers_have_three_significant_digits(value: float, text: str) -> None:
    assert digits(value) == text


def test_all_is_only_said_of_all() -> None:
    assert (percent(0.975), percent(1.0), percent(49999 / 50000)) == ("97.50 %", "100.00 %", "> 99.99 %")


def test_sizes_have_decimal_units() -> None:
    sizes = [file_size(size) for size in (None, 999, 1500, 10_900_000, 2_000_000_000)]
    assert sizes == ["", "999 B", "1.50 kB", "10.9 MB", "2.00 GB"]


def test_one_line_has_no_control_characters() -> None:
    assert one_line("a\n b\t\x1b[0mc\u202e") == "a b [0mc"


def test_a_measured_row_is_one_line_a_batch() -> None:
    table = cells(FULL)
    first, second, best = table.lines[:3]
    assert len(table.headers) == len(first.cells) == 11
    assert first.cells[:7] == ("PyTorch fp32", "1", "2.27", "2.52", "2.72", "2.77", "397")
    assert first.cells[7:] == ("98.33 % (354/360)", "reference", "10.9 MB", "210 MB")
    assert second.cells[:2] == ("PyTorch fp32", "8")
    assert second.cells[7:] == ("", "", "", "")
    assert best.cells[7:9] == ("97.50 % (351/360)", "99.75 %")
    assert [line.best for line in table.lines] == [False, False, True, True, False]


def test_a_skipped_row_is_one_line_with_reason_and_size() -> None:
    line = cells(FULL).lines[-1]
    assert line.skipped == f"skipped: {REASON}"
    assert line.cells == ("TensorRT fp16", "", "", "", "", "", "", "", "", "5.50 MB", "")


def test_notes_say_what_to_beware_of() -> None:
    notes = "\n".join(cells(FULL).notes)
    assert "Timed section: host to host, the same for every row." in notes
    assert "same top class as PyTorch fp32" in notes
    assert "corrupt" not in notes
    assert "Busy" not in notes
    names = tuple(f"{number}.png" for number in range(7))
    busy = dataclasses.replace(FULL, corrupt=names, machine=dataclasses.replace(MACHINE, load_1min=4.5))
    notes = "\n".join(cells(busy).notes)
    assert "7 corrupt images left out: 0.png, 1.png, 2.png, 3.png, 4.png and 2 more." in notes
    assert "Busy machine: load 4.5 on 4 cores before measuring" in notes


def test_conditions_name_the_gpu() -> None:
    assert ("GPU", "none") in conditions(FULL)
    gpu = Gpu("A GPU", "9.0", 81920, "580.1")
    pairs = dict(conditions(dataclasses.replace(FULL, machine=dataclasses.replace(MACHINE, gpu=gpu))))
    assert pairs["GPU"] == "A GPU, 80.0 GiB"
    assert pairs["GPU details"] == "compute capability 9.0, driver 580.1"


SENTENCES = {
    "ONNX Runtime int8 is the fastest of 2 measured contenders at batch 1: 1.20 ms median, 2.1x as fast as "
    "PyTorch fp32 (2.52 ms), with top-1 97.50 % (PyTorch fp32: 98.33 %).": FULL,
    "PyTorch fp32 is the only contender measured at batch 1: 2.52 ms median, with top-1 98.33 %.": make_report(FP32),
    "A fp32 is the fastest of 2 measured contenders at batch 1: 1.00 ms median, practically level with "
    "B fp16 (1.01 ms).": NO_ACCURACY,
    "PyTorch fp32 is the only contender measured at batch 1: 2.52 ms median; the weights are random, so accuracy "
    "means nothing.": make_report(FP32, random_weights=True),
    "Nothing was measured: 1 of 1 contenders skipped.": make_report(SKIPPED),
    "Nothing was measured.": make_report(),
}


@pytest.mark.parametrize("text", SENTENCES)
def test_the_sentence_says_what_was_found(text: str) -> None:
    assert sentence(SENTENCES[text]) == text


@pytest.mark.parametrize("name", RENDERINGS)
def test_random_weights_are_marked_in_every_rendering(name: str) -> None:
    assert RANDOM_WEIGHTS in RENDERINGS[name](dataclasses.replace(FULL, random_weights=True))
    assert "RANDOM" not in RENDERINGS[name](FULL)


@pytest.mark.parametrize("width", [80, 100, 200])
def test_text_cuts_nothing(width: int) -> None:
    text = to_text(FULL, width)
    assert max(map(len, text.splitlines())) <= width
    assert f"TensorRT fp16 (built, 5.50 MB) skipped: {REASON}" in " ".join(text.split())
    assert all(cell in text for line in cells(FULL).lines for cell in line.cells)


def test_text_takes_no_markup_from_outside() -> None:
    text = to_text(make_report(FP32, model="[bold]m[/bold]\x1b[31m"))
    assert "[bold]m[/bold][31m" in text
    assert "\x1b" not in text


def test_markdown_is_a_table_with_as_many_cells_everywhere() -> None:
    text = to_markdown(make_report(FP32, dataclasses.replace(INT8, title=HOSTILE), SKIPPED))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 4
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {12}
    assert r"\<script>" in text
    assert r"\`c\` \*b\* [link]\(x)" in text
    assert "\x1b" not in text
    assert f"- TensorRT fp16 (built, 5.50 MB) skipped: {REASON}" in text


def test_markdown_leaves_names_readable() -> None:
    assert "# Benchmark of wrn_16_4 on digits, 360 images" in to_markdown(make_report(FP32, model="wrn_16_4"))
