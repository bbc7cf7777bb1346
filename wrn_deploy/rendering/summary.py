"""Summarizes a benchmark in one sentence, at the smallest batch size that was measured."""

from __future__ import annotations

from collections.abc import Sequence

from wrn_deploy.bench.report.derived import Ranked
from wrn_deploy.bench.report.report import Report
from wrn_deploy.formatting import digits, one_line, percent
from wrn_deploy.rendering.table import verdict

__all__ = ["sentence"]

LEVEL = 1.05  # ratios of medians below this are called level: repeated runs differ by as much


def sentence(report: Report) -> str:
    """As in "ONNX Runtime int8 is the fastest of 3 measured candidates at batch 1: 1.20 ms median, ..."."""
    ranking = report.derived.ranking
    if not ranking:
        return _untimed(report)
    first = ranking[0]
    name, median, batch = one_line(first.row.name), f"{digits(first.latency.median_ms)} ms median", first.latency.batch
    if len(ranking) == 1:
        claim, other = f"{name} is the only candidate measured at batch {batch}: {median}", None
    else:
        other = next((one for one in ranking[1:] if one.row.name == report.reference), ranking[1])
        level = [one for one in ranking[1:] if one is not other and one.lead is not None and not one.lead.shown]
        claim = f"{name} is the fastest of {len(ranking)} measured candidates at batch {batch}: {median}, "
        claim += _lead(first, other)
        if level:
            claim += f" (no difference shown to {_names(level)})"
    return f"{claim}{_accuracy(report, first, other)}."


def _names(level: Sequence[Ranked]) -> str:
    """Up to two names, and how many more there are."""
    *names, last = [one_line(one.row.name) for one in level[:2]] + [f"{len(level) - 2} more"] * (len(level) > 2)
    return f"{', '.join(names)} and {last}" if names else last


def _lead(first: Ranked, other: Ranked) -> str:
    """By the paired ratio of both, or by their medians with too few rounds for one."""
    name, median = one_line(other.row.name), digits(other.latency.median_ms)
    if other.lead is None:
        factor = other.latency.median_ms / first.latency.median_ms
        words = "practically level with" if factor < LEVEL else f"{factor:.1f}x as fast as"
        return f"{words} {name} ({median} ms)"
    words = verdict(other.lead)
    than = f"{words} {'as' if words.endswith('fast') else 'than'}" if other.lead.shown else "no difference shown to"
    return f"{than} {name} ({median} ms)"


def _accuracy(report: Report, first: Ranked, other: Ranked | None) -> str:
    if report.random_weights:
        return "; the weights are random, so accuracy means nothing"
    if first.row.accuracy is None:
        return ""
    text = f", with top-1 {percent(first.row.accuracy.top1)}"
    if other is not None and other.row.accuracy is not None:
        text += f" ({one_line(other.row.name)}: {percent(other.row.accuracy.top1)})"
    return text


def _untimed(report: Report) -> str:
    """As in "PyTorch fp32: top-1 93.90 % (955 of 1,017 images), top-5 99.80 %."."""
    answered = [] if report.random_weights else [(row.name, row.accuracy) for row in report.rows if row.accuracy]
    if len(answered) == 1:
        name, found = answered[0]
        top5 = "" if found.top5 is None else f", top-5 {percent(found.top5)}"
        images = f"{found.correct:,} of {found.images:,} images"
        return f"{one_line(name)}: top-1 {percent(found.top1)} ({images}){top5}."
    if answered:
        return f"Top-1: {', '.join(f'{one_line(name)} {percent(found.top1)}' for name, found in answered)}."
    skipped = sum(row.skipped is not None for row in report.rows)
    return f"Nothing was measured{f': {skipped} of {len(report.rows)} candidates skipped' if skipped else ''}."
