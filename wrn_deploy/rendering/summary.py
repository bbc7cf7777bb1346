"""Says in one sentence what a benchmark found, at the smallest batch size that was measured."""

from __future__ import annotations

from dataclasses import dataclass

from wrn_deploy.bench.report.report import LatencySummary, Report, Row, summarize
from wrn_deploy.formatting import digits, one_line, percent
from wrn_deploy.rendering.table import verdict

__all__ = ["Entry", "ranking", "sentence"]

LEVEL = 1.05  # ratios of medians below this are called level: repeated runs differ by as much


@dataclass(frozen=True, slots=True)
class Entry:
    """One row's latency at the batch size that the rows are compared at."""

    row: Row
    latency: LatencySummary

    @property
    def name(self) -> str:
        """The row's name on one line."""
        return one_line(self.row.name)


def ranking(report: Report) -> tuple[Entry, ...]:
    """The rows measured at the smallest batch size, the lowest median first; empty where nothing was measured."""
    batch = min((latency.batch for row in report.rows for latency in row.latencies), default=None)
    entries = [
        Entry(row, summarize(latency)) for row in report.rows for latency in row.latencies if latency.batch == batch
    ]
    return tuple(sorted(entries, key=lambda entry: entry.latency.median_ms))


def sentence(report: Report) -> str:
    """As in "ONNX Runtime int8 is the fastest of 3 measured contenders at batch 1: 1.20 ms median, ..."."""
    entries = ranking(report)
    if not entries:
        return _untimed(report)
    first = entries[0]
    median, batch = f"{digits(first.latency.median_ms)} ms median", first.latency.batch
    if len(entries) == 1:
        claim, other = f"{first.name} is the only contender measured at batch {batch}: {median}", None
    else:
        other = next((entry for entry in entries[1:] if entry.row.name == report.reference), entries[1])
        level = [entry for entry in entries[1:] if entry is not other and _level(report, first, entry)]
        claim = f"{first.name} is the fastest of {len(entries)} measured contenders at batch {batch}: {median}, "
        claim += _speed(report, first, other)
        if level:
            claim += f" (no difference shown to {_names(level)})"
    return f"{claim}{_accuracy(report, first, other)}."


def _level(report: Report, first: Entry, other: Entry) -> bool:
    """Whether the rounds that both were in show no difference."""
    ratio = report.compare(other.row.name, first.row.name, first.latency.batch)
    return ratio is not None and not ratio.shown


def _names(entries: list[Entry]) -> str:
    """Up to two names, and how many more there are."""
    names = [entry.name for entry in entries[:2]] + ([f"{len(entries) - 2} more"] if len(entries) > 2 else [])
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def _speed(report: Report, first: Entry, other: Entry) -> str:
    """By the paired ratio of both, or by their medians where there are too few rounds for one."""
    ratio, median = report.compare(first.row.name, other.row.name, first.latency.batch), digits(other.latency.median_ms)
    if ratio is None:
        factor = other.latency.median_ms / first.latency.median_ms
        words = "practically level with" if factor < LEVEL else f"{factor:.1f}x as fast as"
        return f"{words} {other.name} ({median} ms)"
    words = verdict(ratio)
    than = f"{words} {'as' if words.endswith('fast') else 'than'}" if ratio.shown else "no difference shown to"
    return f"{than} {other.name} ({median} ms)"


def _accuracy(report: Report, first: Entry, other: Entry | None) -> str:
    if report.random_weights:
        return "; the weights are random, so accuracy means nothing"
    if first.row.accuracy is None:
        return ""
    text = f", with top-1 {percent(first.row.accuracy.top1)}"
    if other is not None and other.row.accuracy is not None:
        text += f" ({other.name}: {percent(other.row.accuracy.top1)})"
    return text


def _untimed(report: Report) -> str:
    answered = [row for row in report.rows if row.accuracy is not None]
    if len(answered) == 1 and not report.random_weights:
        return _right(answered[0])
    if answered and not report.random_weights:
        found = [f"{one_line(row.name)} {percent(row.accuracy.top1)}" for row in answered if row.accuracy is not None]
        return f"Top-1: {', '.join(found)}."
    skipped = sum(row.skipped is not None for row in report.rows)
    if skipped == 0:
        return "Nothing was measured."
    return f"Nothing was measured: {skipped} of {len(report.rows)} contenders skipped."


def _right(row: Row) -> str:
    """As in "PyTorch fp32: top-1 93.90 % (955 of 1,017 images), top-5 99.80 %."."""
    found = row.accuracy
    assert found is not None
    top5 = "" if found.top5 is None else f", top-5 {percent(found.top5)}"
    return f"{one_line(row.name)}: top-1 {percent(found.top1)} ({found.correct:,} of {found.images:,} images){top5}."
