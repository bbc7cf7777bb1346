"""What people share of a report: three numbers, the rows of one chart, and the command that measures it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from wrn_deploy.bench.report.derived import Ranked
from wrn_deploy.bench.report.ratios import CONFIDENCE
from wrn_deploy.bench.report.report import Report
from wrn_deploy.bench.report.scores import top1_change
from wrn_deploy.bench.report.verdicts import Conclusion, Verdict
from wrn_deploy.formatting import file_size, multiple, one_line, percent, signed
from wrn_deploy.rendering.notes import Compared, compared

__all__ = ["Tile", "best_of_each", "command", "tiles"]

INTERVAL = f"{100 * CONFIDENCE:.0f} % interval"
SAME_SIZE = 0.005  # files that differ by less have the same size


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One number, as in "2.1x", what it is, as in "as fast at batch 1", and what it rests on."""

    value: str
    label: str
    detail: str


def tiles(report: Report) -> tuple[Tile, ...]:
    """How much faster, less accurate and smaller the fastest row is than the reference; without what is not known."""
    pair = compared(report)
    if pair is None:
        return ()
    found = [_speed(pair.lead, pair.first.latency.batch), None if report.random_weights else _loss(pair), _size(pair)]
    return tuple(tile for tile in found if tile is not None)


def _speed(lead: Verdict, batch: int) -> Tile:
    at = f"at batch {batch}"
    because = f"since {one_line(lead.because)}" if lead.because else ""
    if lead.conclusion is Conclusion.RATIO and lead.ratio and lead.low and lead.high:
        interval = f"{INTERVAL} {multiple(1 / lead.high)} to {multiple(1 / lead.low)}"
        return Tile(value=multiple(1 / lead.ratio), label=f"as fast {at}", detail=interval)
    if lead.conclusion is Conclusion.BOUND:
        number, _, kind = lead.words.removeprefix("at least ").partition(" ")
        return Tile(value=f"≥ {number}", label=f"{kind} {at}", detail=f"only a bound, {because}")
    if lead.conclusion is Conclusion.NO_DIFFERENCE and lead.low and lead.high:
        interval = f"{INTERVAL} {multiple(1 / lead.high)} to {multiple(1 / lead.low)}"
        return Tile(value="no difference", label=f"of times shown {at}", detail=interval)
    return Tile(value="not shown", label=f"how fast {at}", detail=because or "too few rounds to conclude")


def _loss(pair: Compared) -> Tile | None:
    before, after = pair.other.row.accuracy, pair.first.row.accuracy
    if before is None or after is None:
        return None
    points, change = 100 * (after.top1 - before.top1), top1_change(before, after)
    amount = f"{abs(points):.2f}" if abs(points) >= 0.005 or not points else "< 0.01"
    interval = f"{signed(100 * change.low)} to {signed(100 * change.high)}"
    return Tile(
        value=amount,
        label=f"points of top-1 {'gained' if points > 0 else 'lost'}",
        detail=f"{percent(after.top1)} instead of {percent(before.top1)}; {INTERVAL} of the change {interval}",
    )


def _size(pair: Compared) -> Tile | None:
    mine, theirs = pair.first.row.size_bytes, pair.other.row.size_bytes
    if not mine or not theirs:
        return None
    sizes = f"{file_size(mine)} instead of {file_size(theirs)}"
    factor = max(mine, theirs) / min(mine, theirs)
    if factor < 1 + SAME_SIZE:
        return Tile(value="same", label="size of the file", detail=file_size(mine))
    return Tile(value=multiple(factor), label="smaller file" if mine < theirs else "larger file", detail=sizes)


def best_of_each(report: Report) -> tuple[Ranked, ...]:
    """The fastest row of each precision, and the reference, in the order of the ranking."""
    kept, seen = list[Ranked](), set[str]()
    for one in report.derived.ranking:
        if one.row.precision not in seen or one.row.name == report.reference:
            kept.append(one)
        seen.add(one.row.precision)
    return tuple(kept)


def command(report: Report) -> str:
    """The command that measures the same candidates again with the same options, given the bundle and the data.

    Which bundle it was, the table of artifacts says by digest. Candidates that were skipped are left out.
    """
    return shlex.join(["wrn-deploy", "bench", "BUNDLE", *_options(report)])


def _options(report: Report) -> Iterator[str]:
    settings, measured = report.settings, [row for row in report.rows if row.skipped is None]
    yield from ("--data", one_line(report.data))
    for backend in dict.fromkeys(row.backend for row in measured):
        yield from ("--backend", one_line(backend))
    precisions = {row.precision for row in measured if row.name != report.reference}
    if len(precisions) == 1:
        yield from ("--precision", precisions.pop().value)
    yield from ("--batches", ",".join(map(str, settings.batches)))
    yield from ("--rounds", str(settings.rounds), "--duration", f"{settings.duration_s:g}")
    yield from ("--iterations", str(settings.iterations), "--threads", str(settings.threads))
    if settings.streams > 1:
        yield from ("--streams", str(settings.streams))
    yield from ("--boundary", settings.boundary.value)
    baseline = next((row for row in measured if row.name == report.baseline), None)
    if baseline is not None and baseline.name != report.reference:
        yield from ("--baseline", f"{one_line(baseline.backend)}-{baseline.precision}")
    images = max((row.accuracy.images for row in measured if row.accuracy is not None), default=None)
    if images is not None:
        yield from ("--limit", str(images))
    for load in {load.scenario: load for row in measured for load in row.loads}.values():
        yield from ("--scenario", one_line(load.scenario))
        if load.target_ms is not None:
            yield from ("--target-latency", f"{load.target_ms:g}")
