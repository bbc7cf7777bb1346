"""Compares two reports of one model row by row, times and right answers; plain data."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from wrn_deploy.bench.report.ratios import unpaired_ratio
from wrn_deploy.bench.report.report import Latency, Report, Row, RowKey
from wrn_deploy.bench.report.scores import Interval, top1_change
from wrn_deploy.bench.report.verdicts import Doubts, Verdict, decide
from wrn_deploy.formatting import one_line

__all__ = ["Comparison", "Scored", "Timed", "compare_reports"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Times of one candidate at one batch size: medians over the rounds of a round's median; the verdict on B / A."""

    name: str
    batch: int
    before_ms: float
    after_ms: float
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One candidate's right answers to the same images in both reports; `change` is of top-1, -1..1."""

    name: str
    images: int
    before: int
    after: int
    change: Interval

    @property
    def lost(self) -> int:
        """Right answers lost; negative: gained."""
        return self.before - self.after

    @property
    def shown(self) -> bool:
        """Whether a change is shown for other images like these: the interval leaves out 0."""
        return not self.change.low <= 0.0 <= self.change.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two reports of one model, row by row.

    `only_before` and `only_after` name what only one report has; `baseline` is the row by whose times the others' were
    divided in each round; `answers` is why right answers are not compared; None: they are.
    """

    model: str
    timed: tuple[Timed, ...]
    scored: tuple[Scored, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    baseline: str | None = None
    answers: str | None = None


def compare_reports(before: Report, after: Report, baseline: RowKey | None = None) -> Comparison:
    """Matches rows by backend and precision, and their times by batch size.

    Args:
        before: the older report.
        after: the newer report; see `comparability.obstacles` for whether the two may be compared.
        baseline: a row with times in both. Each round's times are divided by that row's, so that whatever slows the
            whole machine in one of the runs cancels.
    """
    old, new = ({row.key: row for row in report.rows} for report in (before, after))
    both = [(old[key], new[key]) for key in new if key in old]
    units = (old[baseline], new[baseline]) if baseline else None
    pairs = [pair for pair in both if pair[1].key != baseline]
    timed = (_compare_times(pair, units, (before, after)) for pair in pairs)
    reason = _why_no_answers(before, after)
    had, has = _measured(before), _measured(after)
    return Comparison(
        model=one_line(after.model),
        timed=tuple(itertools.chain.from_iterable(timed)),
        scored=() if reason else tuple(scored for pair in both for scored in _compare_answers(*pair)),
        only_before=tuple(name for key, name in had.items() if key not in has),
        only_after=tuple(name for key, name in has.items() if key not in had),
        baseline=one_line(new[baseline].name) if baseline else None,
        answers=reason,
    )


def _measured(report: Report) -> dict[tuple[RowKey, int | None], str]:
    """The names of what was measured, by row and batch size; None as the batch size stands for answers."""
    found: dict[tuple[RowKey, int | None], str] = {}
    for row in report.rows:
        name = one_line(row.name)
        found |= {(row.key, latency.batch): f"{name} at batch {latency.batch}" for latency in _timed(row)}
        found |= {(row.key, None): f"{name}'s predictions"} if row.accuracy is not None else {}
    return found


def _timed(row: Row) -> list[Latency]:
    return [latency for latency in row.latencies if latency.samples_ms]


def _compare_times(
    pair: tuple[Row, Row], units: tuple[Row, Row] | None, reports: tuple[Report, Report]
) -> Iterator[Timed]:
    """The verdict on each batch size that both have; `units` is the baseline row in both reports."""
    for batch in (latency.batch for latency in _timed(pair[1])):
        before, after = (
            _Side(name, [_at(row, batch) for row in rows], [one_line(row.name) for row in rows])
            for name, rows in zip("AB", zip(pair, *([units] if units else []), strict=True), strict=True)
        )
        if before.own is not None and after.own is not None:
            yield Timed(
                name=one_line(pair[1].name),
                batch=batch,
                before_ms=float(np.median(_medians(before.own))),
                after_ms=float(np.median(_medians(after.own))),
                verdict=decide(
                    unpaired_ratio(after.rounds(), before.rounds()),
                    after.fastest() / before.fastest(),
                    Doubts(
                        unsettled=(*before.unsettled(), *after.unsettled()),
                        taken=max(report.taken(batch) for report in reports),
                    ),
                ),
            )


@dataclass(frozen=True, slots=True)
class _Side:
    """One report's times at one batch size: a row's, then the baseline's that they are divided by, if any."""

    report: str
    latencies: list[Latency | None]
    names: list[str]

    @property
    def own(self) -> Latency | None:
        return self.latencies[0]

    def rounds(self) -> list[float]:
        """Each round's median time in ms, or its ratio to the baseline's in the same round."""
        if None in self.latencies:
            return []
        rounds = zip(*(latency.rounds_ms for latency in self.latencies if latency), strict=False)
        return [_quotient([float(np.median(times)) for times in each]) for each in rounds if all(each)]

    def fastest(self) -> float:
        """The shortest time in ms, or its ratio to the baseline's."""
        return _quotient([min(latency.samples_ms) for latency in self.latencies if latency])

    def unsettled(self) -> Iterator[str]:
        for name, latency in zip(self.names, self.latencies, strict=True):
            if latency is not None and not latency.warm_up.steady:
                yield f"{name} in {self.report}"


def _quotient(values: list[float]) -> float:
    """The first number, divided by the second if there is one."""
    return values[0] / values[1] if len(values) > 1 else values[0]


def _at(row: Row, batch: int) -> Latency | None:
    return next((latency for latency in _timed(row) if latency.batch == batch), None)


def _medians(latency: Latency) -> list[float]:
    """Each round's median time in ms."""
    return [float(np.median(times)) for times in latency.rounds_ms if times]


def _why_no_answers(before: Report, after: Report) -> str | None:
    if before.random_weights or after.random_weights:
        return "the weights are random"
    if before.data_digest != after.data_digest:
        return f"the images are not the same ({before.data_digest[:12] or 'none'}, {after.data_digest[:12] or 'none'})"
    return None


def _compare_answers(old: Row, new: Row) -> Iterator[Scored]:
    before, after = old.accuracy, new.accuracy
    if before is not None and after is not None and before.images == after.images:
        yield Scored(
            name=one_line(new.name),
            images=after.images,
            before=before.correct,
            after=after.correct,
            change=top1_change(before, after),
        )
