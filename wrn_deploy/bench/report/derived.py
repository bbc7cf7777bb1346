"""Computes what follows from a report's raw numbers, each number once, for every rendering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from wrn_deploy.bench.report.ratios import Ratio, paired_ratio
from wrn_deploy.bench.report.scores import Interval

if TYPE_CHECKING:
    from wrn_deploy.bench.report.report import Latency, Report, Row

__all__ = ["Derived", "DerivedRow", "LatencySummary", "Ranked", "derive", "summarize"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySummary:
    """Statistics of one Latency; `images_per_s` is images a run / median."""

    batch: int
    count: int
    min_ms: float
    median_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    images_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedRow:
    """What is computed from a row's raw numbers; written to the JSON, never read back.

    `latencies` are in the row's order. `ratios` are the times over the baseline's by batch size; null: the baseline
    itself, a baseline without times, or too few rounds.
    """

    row: str
    latencies: tuple[LatencySummary, ...]
    ratios: Mapping[int, Ratio | None]
    top1: float | None
    top1_interval: Interval | None
    top5: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A row at the batch size that rows are compared at.

    `lead` is the fastest row's time over this one's; None: the fastest row itself, or too few rounds of both.
    """

    row: Row
    latency: LatencySummary
    lead: Ratio | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """`rows` as in the report; `ranking` has those measured at the smallest batch size, the lowest median first."""

    rows: tuple[DerivedRow, ...]
    ranking: tuple[Ranked, ...]


def derive(report: Report) -> Derived:
    """Computes every statistic and every paired ratio that a rendering shows; `Report.derived` caches the result."""
    rounds = {(row.name, latency.batch): latency.rounds_ms for row in report.rows for latency in row.latencies}

    @cache
    def ratio(name: str, other: str | None, batch: int) -> Ratio | None:
        times, base = rounds.get((name, batch)), rounds.get((other or "", batch))
        return None if name == other or times is None or base is None else paired_ratio(times, base)

    rows = tuple(
        DerivedRow(
            row=row.name,
            latencies=tuple(summarize(latency, report.settings.streams) for latency in row.latencies),
            ratios={latency.batch: ratio(row.name, report.baseline, latency.batch) for latency in row.latencies},
            top1=row.accuracy.top1 if row.accuracy else None,
            top1_interval=row.accuracy.interval if row.accuracy else None,
            top5=row.accuracy.top5 if row.accuracy else None,
        )
        for row in report.rows
    )
    batch = min((batch for _, batch in rounds), default=0)
    timed = [
        (row, one) for row, own in zip(report.rows, rows, strict=True) for one in own.latencies if one.batch == batch
    ]
    timed.sort(key=lambda pair: pair[1].median_ms)
    ranking = (Ranked(row=row, latency=one, lead=ratio(timed[0][0].name, row.name, batch)) for row, one in timed)
    return Derived(rows=rows, ranking=tuple(ranking))


def summarize(latency: Latency, streams: int = 1) -> LatencySummary:
    """Minimum and percentiles (linear interpolation between samples); the throughput counts `streams` batches a run."""
    samples = np.asarray(latency.samples_ms, dtype=np.float64)
    median, p90, p95, p99 = (float(value) for value in np.percentile(samples, [50, 90, 95, 99]))
    return LatencySummary(
        batch=latency.batch,
        count=len(samples),
        min_ms=float(samples.min()),
        median_ms=median,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        images_per_s=latency.batch * streams / median * 1000.0,
    )
