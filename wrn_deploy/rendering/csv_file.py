"""Writes a report as CSV, one line a candidate and batch size, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io

from wrn_deploy.bench.report.derived import LatencySummary
from wrn_deploy.bench.report.ratios import Ratio
from wrn_deploy.bench.report.report import Latency, Report, Row
from wrn_deploy.formatting import one_line

__all__ = ["COLUMNS", "to_csv"]

STATISTICS = ("min_ms", "median_ms", "p90_ms", "p95_ms", "p99_ms", "images_per_s")
COLUMNS = (
    "candidate", "backend", "precision", "batch", "skipped",
    "runs", "rounds", *STATISTICS, "warm_up_s", "steady",
    "ratio", "ratio_low", "ratio_high", "difference_shown",
    "images", "correct", "top1", "top1_low", "top1_high", "top5", "agreement", "max_error", "mean_error",
    "file_bytes", "peak_rss_bytes", "artifact", "sha256",
)  # fmt: skip
FORMULA = tuple("=+-@")  # a spreadsheet would compute a text that begins so

Value = str | int | float | bool | None


def to_csv(report: Report) -> str:
    """The header and the lines, as RFC 4180 has them; numbers in full, shares 0..1, empty where nothing is known.

    A row without latencies, one that was skipped too, has one line without a batch size. Texts from outside that a
    spreadsheet would take for a formula begin with an apostrophe.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, restval="")
    writer.writeheader()
    for row, derived in zip(report.rows, report.derived.rows, strict=True):
        timed = zip(row.latencies, derived.latencies, strict=True)
        measured = [_of_latency(latency, found, derived.ratios[found.batch]) for latency, found in timed]
        for of_latency in measured or [{}]:
            writer.writerow({name: _shown(value) for name, value in {**_of_row(row), **of_latency}.items()})
    return file.getvalue()


def _of_row(row: Row) -> dict[str, Value]:
    record: dict[str, Value] = {
        "candidate": row.name,
        "backend": row.backend,
        "precision": row.precision.value,
        "skipped": row.skipped,
        "file_bytes": row.size_bytes,
        "peak_rss_bytes": row.peak_rss_bytes,
        "artifact": row.artifact,
        "sha256": row.sha256,
    }
    found = row.accuracy
    if found is not None:
        record |= {"images": found.images, "correct": found.correct, "top1": found.top1, "top5": found.top5}
        record |= {"top1_low": found.interval.low, "top1_high": found.interval.high, "agreement": found.agreement}
        record |= {"max_error": found.max_error, "mean_error": found.mean_error}
    return record


def _of_latency(latency: Latency, found: LatencySummary, ratio: Ratio | None) -> dict[str, Value]:
    record: dict[str, Value] = {
        "batch": found.batch,
        "runs": found.count,
        "rounds": len(latency.rounds_ms),
        **{name: getattr(found, name) for name in STATISTICS},
        "warm_up_s": latency.warm_up.seconds,
        "steady": latency.warm_up.steady,
    }
    if ratio is not None:
        record |= {"ratio": ratio.value, "ratio_low": ratio.low, "ratio_high": ratio.high}
        record |= {"difference_shown": ratio.shown}
    return record


def _shown(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return repr(value)
    text = one_line(value)
    return f"'{text}" if text.startswith(FORMULA) else text
