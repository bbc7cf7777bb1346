"""Turns a report's numbers into the tables that every rendering shows; text only, no layout."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from wrn_deploy.bench.report.derived import LatencySummary
from wrn_deploy.bench.report.report import Report, Row
from wrn_deploy.bench.report.scores import ClassScore, LoadResult
from wrn_deploy.bench.report.verdicts import Verdict
from wrn_deploy.formatting import digits, file_size, one_line, percent, ratio_number

__all__ = ["RANDOM_WEIGHTS", "Line", "Table", "artifacts", "class_losses", "tables"]

RANDOM_WEIGHTS = "RANDOM WEIGHTS: accuracy means nothing; for speed tests only"

TIMES = ("Candidate", "Batch", "min", "median", "p90", "p95", "p99", "images/s")
MEDIAN = TIMES.index("median")
RATIOS = ("Candidate", "Batch", "ratio", "95 % interval", "verdict")
ANSWERS = (
    "Candidate", "top-1", "95 % interval", "top-5", "agreement", "file size", "peak memory", "max error", "mean error",
)  # fmt: skip
LOADS = ("Candidate", "Scenario", "result", "samples/s", "p50", "p90", "p99", "target", "queries")
ABOUT_TIMES = "Milliseconds per run, by candidate and batch size; bold: the lowest median of a batch size."
ABOUT_ANSWERS = "Fractions of the images, with the Wilson interval of top-1; size and memory of each candidate."
ABOUT_LOADS = "By MLPerf's load generator, which calls each run valid or not; times in milliseconds."
TEXTS = frozenset({"Candidate", "Scenario", "result", "verdict", "class", "File"})  # the others are numbers
WORST = 5  # classes of a row
SHORT_SHA256 = 12

Cells = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table, one cell a header; `first` of its row's lines; `strong`: the cell to emphasize."""

    cells: Cells
    first: bool = True
    strong: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A part of a report as text; `about` describes it, and the first `keys` columns identify a line."""

    name: str
    title: str
    about: str
    headers: Cells
    lines: tuple[Line, ...]
    keys: int = 1

    def is_text(self, column: int) -> bool:
        """Whether a column holds words, not numbers."""
        return self.headers[column] in TEXTS

    def span(self, index: int) -> int:
        """The number of lines, from this one on, about the same row."""
        return 1 + sum(1 for _ in itertools.takewhile(lambda line: not line.first, self.lines[index + 1 :]))


def tables(report: Report) -> tuple[Table, ...]:
    """Latency, ratios, accuracy with sizes, and load scenarios, without empty tables and columns."""
    baseline = one_line(report.baseline or "")
    about_ratios = f"Time divided by that of {baseline} in the same rounds: below 1 is faster."
    ratios = _lines(
        (row.row, (_cells_of_ratio(batch, found) for batch, found in row.ratios.items() if found is not None))
        for row in report.derived.rows
    )
    answers = _lines((row.name, _cells_of_answers(row, report.reference)) for row in report.rows)
    loads = _lines((row.name, map(_cells_of_load, row.loads)) for row in report.rows)
    found = (
        Table(name="times", title="Latency in ms", about=ABOUT_TIMES, headers=TIMES, lines=_times(report), keys=2),
        Table(name="ratios", title=f"Against {baseline}", about=about_ratios, headers=RATIOS, lines=ratios, keys=2),
        Table(name="answers", title="Accuracy and size", about=ABOUT_ANSWERS, headers=ANSWERS, lines=answers),
        Table(name="loads", title="Load scenarios", about=ABOUT_LOADS, headers=LOADS, lines=loads, keys=2),
    )
    return tuple(_without_empty_columns(table) for table in found if table.lines)


def class_losses(report: Report) -> Table:
    """Up to WORST classes of each row that lose most right answers against the reference row, the worst first."""
    reference = one_line(report.reference or "")
    about = f"Correct predictions by class: up to {WORST} classes per candidate that lose most against {reference}."
    headers = ("Candidate", "class", "images", reference, "this one", "points lost")
    before = next((row for row in report.rows if row.name == report.reference), None)
    others = [row for row in report.rows if row is not before]
    lines = _lines((row.name, _worst_classes(before, row)) for row in others) if before is not None else ()
    return Table(name="classes", title="Classes that lose most", about=about, headers=headers, lines=lines)


def artifacts(report: Report) -> Table:
    """The files that were measured."""
    about = f"The files that were measured, with the first {SHORT_SHA256} digits of their sha256."
    found = [row for row in report.rows if row.artifact is not None or row.sha256 is not None]
    lines = _lines(
        (row.name, [(one_line(row.artifact or ""), file_size(row.size_bytes), (row.sha256 or "")[:SHORT_SHA256])])
        for row in found
    )
    headers = ("Candidate", "File", "Size", "sha256")
    return Table(name="files", title="Artifacts", about=about, headers=headers, lines=lines)


def _lines(rows: Iterable[tuple[str, Iterable[Cells]]]) -> tuple[Line, ...]:
    """The lines of a table, from each row's name and the cells of its lines."""
    return tuple(Line((one_line(name), *cells), index == 0) for name, own in rows for index, cells in enumerate(own))


def _times(report: Report) -> tuple[Line, ...]:
    found = [summary for row in report.derived.rows for summary in row.latencies]
    medians: dict[int, list[float]] = {}
    for summary in found:
        medians.setdefault(summary.batch, []).append(summary.median_ms)
    best = {batch: min(values) for batch, values in medians.items() if len(values) > 1}
    lines = _lines((row.row, map(_cells_of_times, row.latencies)) for row in report.derived.rows)
    return tuple(
        replace(line, strong=MEDIAN) if summary.median_ms == best.get(summary.batch) else line
        for line, summary in zip(lines, found, strict=True)
    )


def _cells_of_times(found: LatencySummary) -> Cells:
    times = (found.min_ms, found.median_ms, found.p90_ms, found.p95_ms, found.p99_ms, found.images_per_s)
    return str(found.batch), *map(digits, times)


def _cells_of_ratio(batch: int, found: Verdict) -> Cells:
    ratio, low, high = ("" if n is None else ratio_number(n) for n in (found.ratio, found.low, found.high))
    return str(batch), ratio, f"{low} to {high}" if low else "", found.words


def _cells_of_answers(row: Row, reference: str | None) -> list[Cells]:
    """Accuracy, sizes and errors of the logits, if any is known."""
    found = row.accuracy
    accuracy, errors = ("",) * 4, ("",) * 2
    if found is not None:
        agreement = "" if found.agreement is None else percent(found.agreement)
        accuracy = (
            percent(found.top1),
            f"{100 * found.interval.low:.2f} to {100 * found.interval.high:.2f} %",
            "" if found.top5 is None else percent(found.top5),
            "reference" if row.name == reference else agreement,
        )
        max_error, mean_error = (
            "" if error is None else f"{error:#.2g}".rstrip(".") for error in (found.max_error, found.mean_error)
        )
        errors = (max_error, mean_error)
    cells = (*accuracy, file_size(row.size_bytes), file_size(row.peak_rss_bytes), *errors)
    return [cells] if row.skipped is None and any(cells) else []


def _cells_of_load(load: LoadResult) -> Cells:
    times = (load.p50_ms, load.p90_ms, load.p99_ms, load.target_ms)
    shown = ("" if time is None else digits(time) for time in times)
    result = "valid" if load.valid else "INVALID"
    return one_line(load.scenario), result, digits(load.samples_per_s), *shown, str(load.queries)


def _worst_classes(reference: Row, row: Row) -> list[Cells]:
    """The classes with the same images in both that lose most, by the fraction of their images that is lost."""
    if reference.accuracy is None or row.accuracy is None:
        return []

    def lost(before: ClassScore, after: ClassScore) -> float:
        return (before.correct - after.correct) / after.images

    before = {score.label: score for score in reference.accuracy.classes}
    pairs = [(before[score.label], score) for score in row.accuracy.classes if score.label in before]
    worse = [(old, new) for old, new in pairs if old.images == new.images > 0 and new.correct < old.correct]
    worse.sort(key=lambda pair: (-lost(*pair), pair[1].correct - pair[0].correct, pair[0].label))
    return [
        (one_line(new.label), str(new.images), str(old.correct), str(new.correct), _points(100 * lost(old, new)))
        for old, new in worse[:WORST]
    ]


def _points(lost: float) -> str:
    """Points lost with one decimal; a loss is never 0.0."""
    return f"{lost:.1f}" if lost >= 0.05 else "< 0.1"


def _without_empty_columns(table: Table) -> Table:
    """The table without columns that no line fills; a table with a `strong` cell has none."""
    kept = [index for index in range(len(table.headers)) if any(line.cells[index] for line in table.lines)]
    if len(kept) == len(table.headers):
        return table
    lines = tuple(Line(_select(line.cells, kept), line.first) for line in table.lines)
    return replace(table, headers=_select(table.headers, kept), lines=lines)


def _select(cells: Sequence[str], columns: Iterable[int]) -> Cells:
    return tuple(cells[column] for column in columns)
