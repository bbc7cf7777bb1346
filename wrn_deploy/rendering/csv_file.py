"""Writes a report as CSV, one line a candidate and batch size, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
import unicodedata

from wrn_deploy.bench.report.derived import LatencySummary
from wrn_deploy.bench.report.report import Latency, Report, Row
from wrn_deploy.bench.report.verdicts import Verdict
from wrn_deploy.formatting import one_line

__all__ = ["COLUMNS", "to_csv"]

ANSWERS = ("images", "correct", "top1", "top5", "agreement", "max_error", "mean_error")
STATISTICS = ("min_ms", "median_ms", "p90_ms", "p95_ms", "p99_ms", "images_per_s")
COLUMNS = (
    "candidate", "backend", "precision", "batch", "skipped",
    "runs", "rounds", *STATISTICS, "warm_up_s", "steady",
    "ratio", "ratio_low", "ratio_high", "verdict", "because",
    "images", "correct", "top1", "top1_low", "top1_high", "top5", "agreement", "max_error", "mean_error",
    "file_bytes", "peak_rss_bytes", "artifact", "sha256",
)  # fmt: skip
FORMULA = tuple("=+-@")  # a spreadsheet would compute a text that begins so, also in full width and after these:
SKIPPED = " '\"\u2018\u2019\u201c\u201d"

Value = str | int | float | bool | None


def to_csv(report: Report) -> str:
    """The header and the lines, by RFC 4180; numbers in full, fractions 0..1, empty: not known.

    A row without latencies, such as a skipped one, has one line without a batch size. Texts from outside that a
    spreadsheet would take for a formula begin with an apostrophe.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, restval="")
    writer.writeheader()
    for row, derived in zip(report.rows, report.derived.rows, strict=True):
        timed = zip(row.latencies, derived.latencies, strict=True)
        measured = [_of_latency(latency, found, derived.ratios[found.batch]) for latency, found in timed]
        for latency in measured or [{}]:
            writer.writerow({name: _shown(value) for name, value in {**_of_row(row), **latency}.items()})
    return file.getvalue()


def _of_row(row: Row) -> dict[str, Value]:
    names = ("backend", "precision", "skipped", "peak_rss_bytes", "artifact", "sha256")
    record: dict[str, Value] = {name: getattr(row, name) for name in names}
    record |= {"candidate": row.name, "file_bytes": row.size_bytes}
    found = row.accuracy
    if found is not None:
        record |= {name: getattr(found, name) for name in ANSWERS}
        record |= {"top1_low": found.interval.low, "top1_high": found.interval.high}
    return record


def _of_latency(latency: Latency, found: LatencySummary, verdict: Verdict | None) -> dict[str, Value]:
    record: dict[str, Value] = {name: getattr(found, name) for name in STATISTICS}
    record |= {"batch": found.batch, "runs": found.count, "rounds": len(latency.rounds_ms)}
    record |= {"warm_up_s": latency.warm_up.seconds, "steady": latency.warm_up.steady}
    if verdict is not None:
        record |= {"ratio": verdict.ratio, "ratio_low": verdict.low, "ratio_high": verdict.high}
        record |= {"verdict": verdict.words, "because": verdict.because}
    return record


def _shown(value: Value) -> str:
    if isinstance(value, str):
        text = one_line(value)
        start = unicodedata.normalize("NFKC", text.lstrip(SKIPPED)[:1])
        return f"'{text}" if start.startswith(FORMULA) else text
    return "" if value is None else repr(value).lower() if isinstance(value, bool) else repr(value)
