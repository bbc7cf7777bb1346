"""Compares two reports of one model row by row, times and right answers; plain data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from wrn_deploy.bench.report.ratios import Ratio, unpaired_ratio
from wrn_deploy.bench.report.report import Latency, Report, Row, RowKey
from wrn_deploy.bench.report.scores import Interval, top1_change
from wrn_deploy.formatting import one_line

__all__ = ["Comparison", "Scored", "Timed", "Verdict", "compare_reports"]

Medians = dict[int, list[float]]  # each round's median time in ms by batch size; NaN: the candidate had failed


class Verdict(StrEnum):
    """What a ratio with its interval says."""

    SLOWER = "slower"
    FASTER = "faster"
    NO_DIFFERENCE = "no difference shown"
    NOT_KNOWN = "not known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Times of one candidate at one batch size: medians over the rounds of a round's median, and after / before.

    `ratio` is None if a report has fewer than MIN_ROUNDS rounds, or no times of the reference at this batch size.
    """

    name: str
    batch: int
    before_ms: float
    after_ms: float
    ratio: Ratio | None

    @property
    def verdict(self) -> Verdict:
        """Slower or faster if the interval leaves out 1."""
        if self.ratio is None:
            return Verdict.NOT_KNOWN
        if not self.ratio.shown:
            return Verdict.NO_DIFFERENCE
        return Verdict.SLOWER if self.ratio.low > 1.0 else Verdict.FASTER


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

    `only_before` and `only_after` name what only one report has; `reference` is the row by whose times the others' were
    divided in each round; `answers` is why right answers are not compared; None: they are.
    """

    model: str
    timed: tuple[Timed, ...]
    scored: tuple[Scored, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    reference: str | None = None
    answers: str | None = None


def compare_reports(before: Report, after: Report, reference: RowKey | None = None) -> Comparison:
    """Matches rows by backend and precision, and their times by batch size.

    Args:
        before: the older report.
        after: the newer report; see `comparability.obstacles` for whether the two may be compared.
        reference: a row with times in both. Each round's times are divided by that row's, so that whatever slows the
            whole machine in one of the runs cancels.
    """
    old, new = ({row.key: row for row in report.rows} for report in (before, after))
    both = [(old[key], new[key]) for key in new if key in old]
    units = (_medians(old[reference]), _medians(new[reference])) if reference else None
    pairs = [pair for pair in both if pair[1].key != reference]
    reason = _why_no_answers(before, after)
    had, has = _measured(before), _measured(after)
    return Comparison(
        model=one_line(after.model),
        timed=tuple(timed for pair in pairs for timed in _compare_times(*pair, units)),
        scored=() if reason else tuple(scored for pair in both for scored in _compare_answers(*pair)),
        only_before=tuple(name for key, name in had.items() if key not in has),
        only_after=tuple(name for key, name in has.items() if key not in had),
        reference=one_line(new[reference].name) if reference else None,
        answers=reason,
    )


def _measured(report: Report) -> dict[tuple[RowKey, int | None], str]:
    """The names of what was measured, by row and batch size; None as the batch size stands for answers."""
    found: dict[tuple[RowKey, int | None], str] = {}
    for row in report.rows:
        name = one_line(row.name)
        found |= {(row.key, latency.batch): f"{name} at batch {latency.batch}" for latency in _timed(row)}
        found |= {(row.key, None): f"{name}'s answers"} if row.accuracy is not None else {}
    return found


def _timed(row: Row) -> list[Latency]:
    return [latency for latency in row.latencies if latency.samples_ms]


def _medians(row: Row) -> Medians:
    return {
        latency.batch: [float(np.median(times)) if times else float("nan") for times in latency.rounds_ms]
        for latency in _timed(row)
    }


def _compare_times(old: Row, new: Row, units: tuple[Medians, Medians] | None) -> Iterator[Timed]:
    earlier = _medians(old)
    for batch, after in _medians(new).items():
        if batch in earlier:
            before = earlier[batch]
            unit_before, unit_after = (unit.get(batch, []) for unit in units) if units else (None, None)
            yield Timed(
                name=one_line(new.name),
                batch=batch,
                before_ms=float(np.nanmedian(before)),
                after_ms=float(np.nanmedian(after)),
                ratio=unpaired_ratio(_divide(after, unit_after), _divide(before, unit_before)),
            )


def _divide(rounds: list[float], unit: list[float] | None) -> list[float]:
    """Each round's median time in ms, or its ratio to the reference's in the same round."""
    values = np.asarray(rounds)
    if unit is not None:
        shared = min(len(values), len(unit))
        values = values[:shared] / np.asarray(unit)[:shared]
    return [float(value) for value in values if np.isfinite(value)]


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
