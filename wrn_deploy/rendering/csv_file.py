"""Writes a report as CSV, one line a contender and batch size, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io

from wrn_deploy.bench.report.report import Latency, Report, Row, summarize
from wrn_deploy.formatting import one_line

__all__ = ["COLUMNS", "to_csv"]

COLUMNS = (
    "contender", "backend", "precision", "batch", "skipped",
    "runs", "rounds", "min_ms", "median_ms", "p90_ms", "p95_ms", "p99_ms", "images_per_s", "warm_up_s", "steady",
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
    for row in report.rows:
        of_row = _of_row(row)
        for latency in row.latencies or (None,):
            of_latency = {} if latency is None else _of_latency(report, row, latency)
            writer.writerow({name: _shown(value) for name, value in {**of_row, **of_latency}.items()})
    return file.getvalue()


def _of_row(row: Row) -> dict[str, Value]:
    record: dict[str, Value] = {
        "contender": row.name,
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


def _of_latency(report: Report, row: Row, latency: Latency) -> dict[str, Value]:
    found, ratio = summarize(latency, report.settings.streams), report.ratio(row, latency.batch)
    record: dict[str, Value] = {
        "batch": found.batch,
        "runs": found.count,
        "rounds": len(latency.rounds_ms),
        "min_ms": found.min_ms,
        "median_ms": found.median_ms,
        "p90_ms": found.p90_ms,
        "p95_ms": found.p95_ms,
        "p99_ms": found.p99_ms,
        "images_per_s": found.images_per_s,
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
