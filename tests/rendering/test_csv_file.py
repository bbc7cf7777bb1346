"""The CSV: one line a candidate and batch size, columns that stay, numbers in full."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path

import pytest

from tests.bench.full_report import make_full_report
from tests.bench.sample_reports import FP32, FULL, HOSTILE, INT8, REASON, SKIPPED, make_report
from wrn_deploy.bench.report.report import Report
from wrn_deploy.rendering.csv_file import COLUMNS, to_csv

ROOT = Path(__file__).resolve().parents[2]


def read(report: Report) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(report), newline="")))


def test_lines_are_candidates_and_batch_sizes() -> None:
    lines = read(FULL)
    found = [(line["candidate"], line["batch"]) for line in lines]
    assert found == [("PyTorch fp32", "1"), ("PyTorch fp32", "8"), ("ONNX Runtime int8", "1"),
                     ("ONNX Runtime int8", "8"), ("TensorRT fp16", "")]  # fmt: skip
    assert lines[4]["skipped"] == REASON
    assert set(lines[0]) == set(COLUMNS)
    assert [lines[0][name] for name in ("runs", "rounds", "steady", "images", "correct")] == [
        "24", "8", "true", "360", "354",
    ]  # fmt: skip


def test_numbers_are_those_of_the_report() -> None:
    line = read(FULL)[2]
    derived = FULL.derived.rows[1]
    summary, verdict = derived.latencies[0], derived.ratios[1]
    assert verdict is not None
    assert INT8.accuracy is not None
    assert float(line["p95_ms"]) == summary.p95_ms
    assert (float(line["ratio_low"]), line["verdict"], line["because"]) == (verdict.low, "2.1x as fast", "")
    assert float(line["top1_high"]) == INT8.accuracy.interval.high
    assert read(FULL)[0]["ratio"] == "", "the baseline has none"
    assert float(read(make_full_report())[3]["max_error"]) > 0


def test_accuracy_alone_has_a_line_too() -> None:
    (line,) = read(make_report(dataclasses.replace(FP32, latencies=())))
    assert (line["batch"], line["median_ms"], line["correct"]) == ("", "", "354")


@pytest.mark.parametrize(
    "text", ["=1+1", "@SUM(A1)", "-2", "+3", "'=1", '"=1', "\uff1d1", "\uff20a", "\uff0b1", "\uff0d1"]
)
def test_no_spreadsheet_takes_a_text_for_a_formula(text: str) -> None:
    (line,) = read(make_report(dataclasses.replace(SKIPPED, skipped=text)))
    assert line["skipped"] == f"'{text}"


def test_texts_from_outside_stay_in_their_cells() -> None:
    lines = read(make_report(dataclasses.replace(FP32, title=HOSTILE, artifact='a,"b"\n')))
    assert len(lines) == 2
    assert lines[0]["artifact"] == 'a,"b"'
    assert "\x1b" not in lines[0]["candidate"]


def test_the_columns_are_documented() -> None:
    text = (ROOT / "docs" / "reference" / "report.md").read_text(encoding="utf-8")
    assert [name for name in COLUMNS if f"`{name}`" not in text] == []
