"""Compares two reports of one model row by row: times, right answers, and whether they may be compared; plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from wrn_deploy.bench.report.ratios import Ratio, unpaired_ratio
from wrn_deploy.bench.report.report import Report, Row
from wrn_deploy.bench.report.scores import Interval, share_change
from wrn_deploy.formatting import one_line
from wrn_deploy.spec import Precision

__all__ = ["Comparison", "RowKey", "Scored", "Timed", "Verdict", "compare_reports"]

RowKey = tuple[str, Precision]


class Verdict(StrEnum):
    """What a ratio with its interval says."""

    SLOWER = "slower"
    FASTER = "faster"
    NO_DIFFERENCE = "no difference shown"
    NOT_KNOWN = "not known"


@dataclass(frozen=True, slots=True)
class Timed:
    """One contender at one batch size in both reports: medians over the rounds of a round's median, and after / before.

    `ratio` is None where one of them has fewer than LEAST_ROUNDS rounds, or the yardstick no times at this batch size.
    """

    name: str
    batch: int
    before_ms: float
    after_ms: float
    ratio: Ratio | None

    @property
    def verdict(self) -> Verdict:
        """In words; a difference is shown where the interval does not hold 1."""
        if self.ratio is None:
            return Verdict.NOT_KNOWN
        if not self.ratio.shown:
            return Verdict.NO_DIFFERENCE
        return Verdict.SLOWER if self.ratio.low > 1.0 else Verdict.FASTER


@dataclass(frozen=True, slots=True)
class Scored:
    """One contender's right answers to the same images in both reports; `change` is of top-1, -1..1."""

    name: str
    images: int
    before: int
    after: int
    change: Interval

    @property
    def lost(self) -> int:
        """Right answers that are fewer now; below 0: more."""
        return self.before - self.after

    @property
    def shown(self) -> bool:
        """Whether other images like these would show a change too: the interval does not hold 0."""
        return not self.change.low <= 0.0 <= self.change.high


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two reports of one model, row by row.

    `only_before` and `only_after` name what was measured in one of them alone; `yardstick` the row whose times those of
    the others were divided by in each round, if any; `answers` says why answers were not compared, if they were not.
    """

    model: str
    timed: tuple[Timed, ...]
    scored: tuple[Scored, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    yardstick: str | None = None
    answers: str | None = None


def compare_reports(before: Report, after: Report, yardstick: RowKey | None = None) -> Comparison:
    """Matches rows by backend and precision, and their times by batch size.

    Args:
        before: the report that the other is measured by.
        after: the report that is asked about; both may be compared, see `comparable.obstacles`.
        yardstick: a row with times in both; in each round, the others' are divided by its before they are compared,
            so that what slows the whole machine in one of the runs cancels.
    """
    old, new = _rows(before), _rows(after)
    both = [(old[key], new[key]) for key in new if key in old]
    units = (_medians(old[yardstick]), _medians(new[yardstick])) if yardstick else None
    pairs = [pair for pair in both if yardstick != (pair[1].backend, pair[1].precision)]
    reason = _why_no_answers(before, after)
    had, has = _measured(before), _measured(after)
    return Comparison(
        model=one_line(after.model),
        timed=tuple(timed for pair in pairs for timed in _compare_times(*pair, units)),
        scored=() if reason else tuple(scored for pair in both for scored in _compare_answers(*pair)),
        only_before=tuple(name for key, name in had.items() if key not in has),
        only_after=tuple(name for key, name in has.items() if key not in had),
        yardstick=one_line(new[yardstick].name) if yardstick else None,
        answers=reason,
    )


def _rows(report: Report) -> dict[RowKey, Row]:
    return {(row.backend, row.precision): row for row in report.rows}


def _measured(report: Report) -> dict[tuple[RowKey, int | None], str]:
    """What was measured, by row and batch size, with its name; None as the batch size stands for answers."""
    found: dict[tuple[RowKey, int | None], str] = {}
    for key, row in _rows(report).items():
        name = one_line(row.name)
        batches = [latency.batch for latency in row.latencies if latency.samples_ms]
        found |= {(key, batch): f"{name} at batch {batch}" for batch in batches}
        found |= {(key, None): f"{name}'s answers"} if row.accuracy is not None else {}
    return found


def _medians(row: Row) -> dict[int, list[float]]:
    """Each round's median time in ms by batch size; NaN for a round in which the candidate had failed."""
    return {
        latency.batch: [float(np.median(turn)) if turn else float("nan") for turn in latency.rounds_ms]
        for latency in row.latencies
        if latency.samples_ms
    }


def _compare_times(
    old: Row, new: Row, units: tuple[dict[int, list[float]], dict[int, list[float]]] | None
) -> list[Timed]:
    earlier, found = _medians(old), []
    for batch, after in _medians(new).items():
        if batch in earlier:
            before = earlier[batch]
            of_before, of_after = (unit.get(batch, []) for unit in units) if units else (None, None)
            ratio = unpaired_ratio(_numbers(after, of_after), _numbers(before, of_before))
            medians = float(np.nanmedian(before)), float(np.nanmedian(after))
            found.append(Timed(one_line(new.name), batch, *medians, ratio))
    return found


def _numbers(rounds: Sequence[float], unit: Sequence[float] | None) -> list[float]:
    """One number a round: its median time in ms, or that divided by the yardstick's in the same round."""
    medians = np.asarray(rounds)
    if unit is not None:
        shared = min(len(medians), len(unit))
        medians = medians[:shared] / np.asarray(unit)[:shared]
    return [float(value) for value in medians if np.isfinite(value)]


def _why_no_answers(before: Report, after: Report) -> str | None:
    """Why right answers cannot be compared; None: they can."""
    if before.random_weights or after.random_weights:
        return "the weights are random"
    if before.data_digest != after.data_digest:
        return f"the images are not the same ({before.data_digest[:12] or 'none'}, {after.data_digest[:12] or 'none'})"
    return None


def _compare_answers(old: Row, new: Row) -> list[Scored]:
    before, after = old.accuracy, new.accuracy
    if before is None or after is None or before.images != after.images:
        return []
    name = one_line(new.name)
    return [Scored(name, after.images, before.correct, after.correct, share_change(before, after))]
