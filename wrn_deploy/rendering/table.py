"""Turns a report's numbers into the tables that every rendering shows; text only, no layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wrn_deploy.bench.report.loads import LoadResult
from wrn_deploy.bench.report.ratios import Ratio
from wrn_deploy.bench.report.report import Latency, Report, Row, summarize
from wrn_deploy.formatting import digits, file_size, one_line, percent, share_interval

__all__ = [
    "RANDOM_WEIGHTS",
    "Line",
    "Table",
    "tables",
    "verdict",
]

RANDOM_WEIGHTS = "RANDOM WEIGHTS: accuracy means nothing; for speed work only"

TIMES = ("Contender", "Batch", "min", "median", "p90", "p95", "p99", "images/s")
MEDIAN = 3
RATIOS = ("Contender", "Batch", "ratio", "95 % interval", "verdict")
ANSWERS = (
    "Contender", "top-1", "95 % interval", "top-5", "agreement", "file size", "peak memory", "max error", "mean error",
)  # fmt: skip
LOADS = ("Contender", "Scenario", "result", "samples/s", "p50", "p90", "p99", "target", "queries")
ABOUT_TIMES = "Milliseconds a run, by contender and batch size; bold: the lowest median of a batch size."
ABOUT_ANSWERS = "Shares of the images, with the Wilson interval of top-1; what each contender takes."
ABOUT_LOADS = "By MLPerf's load generator, which calls each run valid or not; times in milliseconds."
TEXTS = frozenset({"Contender", "Scenario", "result", "verdict"})  # the others are numbers


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table, one cell a header; `first` of its row's lines; `strong`: the cell to be seen first."""

    cells: tuple[str, ...]
    first: bool = True
    strong: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A part of a report as text; `about` says what it holds, and the first `keys` columns what a line is about."""

    name: str
    title: str
    about: str
    headers: tuple[str, ...]
    lines: tuple[Line, ...]
    keys: int = 1

    def is_text(self, column: int) -> bool:
        """Whether a column holds words, not numbers."""
        return self.headers[column] in TEXTS


def tables(report: Report) -> tuple[Table, ...]:
    """Latency, ratios, accuracy with sizes, and load scenarios; only those that hold something."""
    baseline = one_line(report.baseline or "")
    of_ratios = f"Time over that of {baseline} in the same rounds: below 1 is faster."
    found = (
        Table("times", "Latency in ms", ABOUT_TIMES, TIMES, tuple(_times(report)), keys=2),
        Table("ratios", f"Against {baseline}", of_ratios, RATIOS, tuple(_ratios(report)), keys=2),
        Table("answers", "Accuracy and size", ABOUT_ANSWERS, ANSWERS, tuple(_answers(report))),
        Table("loads", "Load scenarios", ABOUT_LOADS, LOADS, tuple(_loads(report)), keys=2),
    )
    return tuple(_without_empty_columns(table) for table in found if table.lines)


def verdict(ratio: Ratio) -> str:
    """The ratio in words: "2.1x as fast", "4.0 % more time" or "no difference shown"."""
    if not ratio.shown:
        return "no difference shown"
    if not 0.5 < ratio.value < 2:
        factor = max(ratio.value, 1 / ratio.value)
        return f"{factor:.{1 if factor < 100 else 0}f}x {'as fast' if ratio.value < 1 else 'the time'}"
    change = abs(ratio.value - 1)
    return f"{change * 100:.{0 if change >= 0.1 else 1}f} % {'less' if ratio.value < 1 else 'more'} time"


def _times(report: Report) -> list[Line]:
    best = _best_medians(report)
    lines = []
    for row in report.rows:
        for index, latency in enumerate(row.latencies):
            strong = (latency.batch, summarize(latency).median_ms) in best
            cells = (one_line(row.name), *_cells_of_latency(latency, report.settings.streams))
            lines.append(Line(cells, index == 0, MEDIAN if strong else None))
    return lines


def _cells_of_latency(latency: Latency, streams: int) -> tuple[str, ...]:
    found = summarize(latency, streams)
    times = (found.min_ms, found.median_ms, found.p90_ms, found.p95_ms, found.p99_ms, found.images_per_s)
    return (str(found.batch), *(digits(time) for time in times))


def _best_medians(report: Report) -> frozenset[tuple[int, float]]:
    medians: dict[int, list[float]] = {}
    for row in report.rows:
        for latency in row.latencies:
            medians.setdefault(latency.batch, []).append(summarize(latency).median_ms)
    return frozenset((batch, min(values)) for batch, values in medians.items() if len(values) > 1)


def _ratios(report: Report) -> list[Line]:
    lines: list[Line] = []
    for row in report.rows:
        found = [(latency.batch, report.ratio(row, latency.batch)) for latency in row.latencies]
        kept = [(batch, ratio) for batch, ratio in found if ratio is not None]
        for index, (batch, ratio) in enumerate(kept):
            value, low, high = (f"{n:.3f}" if n >= 0.1 else digits(n) for n in (ratio.value, ratio.low, ratio.high))
            cells = (one_line(row.name), str(batch), value, f"{low} to {high}", verdict(ratio))
            lines.append(Line(cells, index == 0))
    return lines


def _answers(report: Report) -> list[Line]:
    lines = []
    for row in report.rows:
        cells = (*_cells_of_accuracy(row, report.reference), *_cells_of_errors(row))
        if row.skipped is None and any(cells):
            lines.append(Line((one_line(row.name), *cells)))
    return lines


def _cells_of_accuracy(row: Row, reference: str | None) -> tuple[str, ...]:
    found = row.accuracy
    if found is None:
        return ("",) * 4
    agreement = "" if found.agreement is None else percent(found.agreement)
    return (
        percent(found.top1),
        share_interval(found.interval.low, found.interval.high),
        "" if found.top5 is None else percent(found.top5),
        "reference" if row.name == reference else agreement,
    )


def _cells_of_errors(row: Row) -> tuple[str, ...]:
    """Sizes, and the errors of the logits."""
    found = row.accuracy
    errors = (None, None) if found is None else (found.max_error, found.mean_error)
    sizes = (file_size(row.size_bytes), file_size(row.peak_rss_bytes))
    return (*sizes, *("" if error is None else f"{error:#.2g}".rstrip(".") for error in errors))


def _loads(report: Report) -> list[Line]:
    return [
        Line((one_line(row.name), *_cells_of_load(load)), index == 0)
        for row in report.rows
        for index, load in enumerate(row.loads)
    ]


def _cells_of_load(load: LoadResult) -> tuple[str, ...]:
    times = (load.p50_ms, load.p90_ms, load.p99_ms, load.target_ms)
    said = "valid" if load.valid else "INVALID"
    shown = ("" if time is None else digits(time) for time in times)
    return (one_line(load.scenario), said, digits(load.samples_per_s), *shown, str(load.queries))


def _without_empty_columns(table: Table) -> Table:
    """Columns in which no line has anything are left out; `strong` is only used where none can be."""
    kept = [index for index in range(len(table.headers)) if any(line.cells[index] for line in table.lines)]
    if len(kept) == len(table.headers):
        return table
    lines = tuple(Line(_at(line.cells, kept), line.first) for line in table.lines)
    return Table(table.name, table.title, table.about, _at(table.headers, kept), lines, table.keys)


def _at(cells: Sequence[str], columns: Sequence[int]) -> tuple[str, ...]:
    return tuple(cells[column] for column in columns)
