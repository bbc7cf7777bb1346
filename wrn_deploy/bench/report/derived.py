"""Computes what follows from a report's raw numbers, each number once, for every rendering."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from wrn_deploy.bench.report.ratios import paired_ratio
from wrn_deploy.bench.report.scores import Interval, top1_change
from wrn_deploy.bench.report.verdicts import Doubts, Verdict, decide

if TYPE_CHECKING:
    from wrn_deploy.bench.report.report import Latency, Report, Row

__all__ = ["Derived", "DerivedRow", "Front", "LatencySummary", "Ranked", "derive", "summarize"]


class Front(StrEnum):
    """Whether a row is on the Pareto front of time and top-1, as far as the intervals say.

    It is if each other row is shown to be slower or less accurate. It is not if another is shown to be faster and has
    as many right answers to the same images.
    """

    ON = "on the front"
    OPEN = "not decided"
    OFF = "dominated"


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
    itself, or a baseline without times. `lead` is the time of the row with the lowest median over this one's, at the
    smallest batch size; null: that row itself, or no times. `front` is null without times and accuracy of all rows.
    """

    row: str
    latencies: tuple[LatencySummary, ...]
    ratios: Mapping[int, Verdict | None]
    top1: float | None
    top1_interval: Interval | None
    top5: float | None
    lead: Verdict | None = None
    front: Front | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A row at the batch size that rows are compared at; `lead` and `front` are those of its DerivedRow."""

    row: Row
    latency: LatencySummary
    lead: Verdict | None
    front: Front | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """`rows` as in the report; `ranking` has those measured at the smallest batch size, the lowest median first."""

    rows: tuple[DerivedRow, ...]
    ranking: tuple[Ranked, ...]


Compare = Callable[[str, str], Verdict]  # the verdict on a row's time over another's, by their names


def derive(report: Report) -> Derived:
    """Computes every statistic and every verdict that a rendering shows; `Report.derived` caches the result."""
    timed = {(row.name, latency.batch): latency for row in report.rows for latency in row.latencies}

    @cache
    def compare(name: str, other: str, batch: int) -> Verdict:
        mine, base = timed[name, batch], timed[other, batch]
        unsettled = tuple(one for one in (name, other) if not timed[one, batch].warm_up.steady)
        fastest = min(mine.samples_ms) / min(base.samples_ms)
        doubts = Doubts(unsettled=unsettled, taken=report.taken(batch))
        return decide(paired_ratio(mine.rounds_ms, base.rounds_ms), fastest, doubts)

    def against_baseline(name: str, batch: int) -> Verdict | None:
        baseline = report.baseline
        if baseline is None or name == baseline or (baseline, batch) not in timed:
            return None
        return compare(name, baseline, batch)

    rows = tuple(
        DerivedRow(
            row=row.name,
            latencies=tuple(summarize(latency, report.settings.streams) for latency in row.latencies),
            ratios={latency.batch: against_baseline(row.name, latency.batch) for latency in row.latencies},
            top1=row.accuracy.top1 if row.accuracy else None,
            top1_interval=row.accuracy.interval if row.accuracy else None,
            top5=row.accuracy.top5 if row.accuracy else None,
        )
        for row in report.rows
    )
    batch = min((batch for _, batch in timed), default=0)
    found = [
        (row, one) for row, own in zip(report.rows, rows, strict=True) for one in own.latencies if one.batch == batch
    ]
    found.sort(key=lambda pair: pair[1].median_ms)
    ranking = _rank(report, found, lambda name, other: compare(name, other, batch))
    by_name = {one.row.name: one for one in ranking}
    return Derived(rows=tuple(_with_rank(row, by_name.get(row.row)) for row in rows), ranking=ranking)


def _rank(report: Report, found: Sequence[tuple[Row, LatencySummary]], compare: Compare) -> tuple[Ranked, ...]:
    """The rows with their verdicts, in the given order."""
    names = [row.name for row, _ in found]
    has_front = len(found) > 1 and not report.random_weights and all(row.accuracy is not None for row, _ in found)
    return tuple(
        Ranked(
            row=row,
            latency=latency,
            lead=compare(names[0], row.name) if row.name != names[0] else None,
            front=_front(row, [other for other, _ in found if other is not row], compare) if has_front else None,
        )
        for row, latency in found
    )


def _with_rank(row: DerivedRow, ranked: Ranked | None) -> DerivedRow:
    return row if ranked is None else dataclasses.replace(row, lead=ranked.lead, front=ranked.front)


def _front(row: Row, others: Sequence[Row], compare: Compare) -> Front:
    """Compares times only if the accuracy leaves it open, since a verdict on times takes some milliseconds."""
    own, verdict = row.accuracy, Front.ON
    assert own is not None
    for other in others:
        theirs = other.accuracy
        assert theirs is not None
        if top1_change(own, theirs).high < 0:
            continue
        times = compare(other.name, row.name)
        if times.faster and theirs.top1 >= own.top1:
            return Front.OFF
        if not times.slower:
            verdict = Front.OPEN
    return verdict


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
