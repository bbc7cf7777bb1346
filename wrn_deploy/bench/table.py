"""Turns a report into the cells, notes and conditions that every rendering shows; text only, no layout."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wrn_deploy.bench.report import Latency, Report, Row, summarize

__all__ = [
    "MEDIAN",
    "RANDOM_WEIGHTS",
    "SIZE",
    "Line",
    "Table",
    "cells",
    "conditions",
    "digits",
    "file_size",
    "heading",
    "one_line",
    "percent",
    "ratio_cell",
]

RANDOM_WEIGHTS = "RANDOM WEIGHTS: accuracy means nothing; for speed work only"

HEADERS = ("Contender", "Batch", "min ms", "median ms", "p90 ms", "p95 ms", "p99 ms", "images/s", "time ratio")
HEADERS_OF_ROW = ("top-1", "agreement", "file size", "peak memory")
MEDIAN, SIZE = 3, 11  # columns of "median ms" and "file size"
NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table, one cell a header.

    `first` marks a row's first line, the one with its accuracy and sizes; `best` the lowest median of several at one
    batch size. A skipped row is one line with `skipped`, to be shown in place of its empty cells.
    """

    cells: tuple[str, ...]
    first: bool = True
    best: bool = False
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A report as text; `notes` say what the columns mean and what to beware of."""

    headers: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]


def cells(report: Report) -> Table:
    """One line a row and batch size, in the report's order."""
    best = _best_medians(report)
    lines = [line for row in report.rows for line in _lines(row, report, best)]
    return Table(HEADERS + HEADERS_OF_ROW, tuple(lines), tuple(_notes(report)))


def conditions(report: Report) -> tuple[tuple[str, str], ...]:
    """What was measured, on which machine and how, as (name, value)."""
    machine, settings = report.machine, report.settings
    gpu = machine.gpu
    pairs = (
        ("CPU", f"{machine.cpu}, {_count(machine.cores, 'core')}"),
        ("Memory", f"{digits(machine.memory_mib / 1024)} GiB"),
        ("GPU", "none" if gpu is None else f"{gpu.name}, {digits(gpu.memory_mib / 1024)} GiB"),
        ("GPU details", "" if gpu is None else f"compute capability {gpu.compute_capability}, driver {gpu.driver}"),
        ("System", f"{machine.system}, Python {machine.python}"),
        ("Versions", ", ".join(f"{name} {version}" for name, version in sorted(report.versions.items()))),
        ("Threads", str(settings.threads)),
        ("Load", f"{machine.load_1min:g} before measuring (average of one minute)"),
        ("Samples", _samples(report)),
        ("Data", f"{report.data}, digest {report.data_digest[:12]}" if report.data_digest else report.data),
        ("Created", report.created),
    )
    return tuple((name, one_line(value)) for name, value in pairs if value)


def heading(report: Report) -> tuple[str, str]:
    """The model, and the data with the number of images, as in ("wrn-16-4", "digits, 360 images")."""
    images = max((row.accuracy.images for row in report.rows if row.accuracy is not None), default=None)
    data = report.data if images is None else f"{report.data}, {_count(images, 'image')}"
    return one_line(report.model), one_line(data)


def digits(value: float) -> str:
    """Three significant digits without an exponent: 0.0123, 1.20, 12300."""
    rounded = float(f"{value:.2e}")
    exponent = math.floor(math.log10(abs(rounded))) if rounded else 0
    return f"{rounded:.{max(0, 2 - exponent)}f}"


def percent(share: float) -> str:
    """Two decimals, and 100.00 % only where it is all of them."""
    text = f"{share:.2%}"
    return ("> 99.99" if share < 1.0 and text == "100.00%" else text[:-1]) + " %"


def file_size(size_bytes: int | None) -> str:
    """As in "10.9 MB" (10^6 bytes); empty where it is not known."""
    if size_bytes is None:
        return ""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size_bytes >= unit:
            return f"{digits(size_bytes / unit)} {name}"
    return f"{size_bytes} B"


def one_line(text: str) -> str:
    """The text without line breaks and control characters, which tables and terminals cannot show."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())


def _lines(row: Row, report: Report, best: frozenset[tuple[int, float]]) -> list[Line]:
    name, of_row = one_line(row.name), _cells_of_row(row, report.reference)
    empty = ("",) * (len(HEADERS) - 1)
    if row.skipped is not None:
        return [Line((name, *empty, *of_row), skipped=f"skipped: {one_line(row.skipped)}")]
    if not row.latencies:
        return [Line((name, *empty, *of_row))]
    blank = ("",) * len(of_row)
    return [
        Line(
            (
                name,
                *_cells_of_latency(latency, report),
                ratio_cell(row, latency.batch, report),
                *(of_row if index == 0 else blank),
            ),
            first=index == 0,
            best=(latency.batch, summarize(latency).median_ms) in best,
        )
        for index, latency in enumerate(row.latencies)
    ]


def ratio_cell(row: Row, batch: int, report: Report) -> str:
    """As in "0.82 [0.80, 0.85]", "1.01 [0.98, 1.05] no difference shown" or "baseline"."""
    if row.name == report.baseline:
        return "baseline"
    ratio = report.ratio(row, batch)
    if ratio is None:
        return ""
    return f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]{'' if ratio.shown else ' no difference shown'}"


def _cells_of_latency(latency: Latency, report: Report) -> tuple[str, ...]:
    summary = summarize(latency, report.settings.streams)
    percentiles = (summary.min_ms, summary.median_ms, summary.p90_ms, summary.p95_ms, summary.p99_ms)
    times = (*percentiles, summary.images_per_s)
    return (str(summary.batch), *(digits(time) for time in times))


def _cells_of_row(row: Row, reference: str | None) -> tuple[str, ...]:
    top1 = agreement = ""
    if row.accuracy is not None:
        top1 = f"{percent(row.accuracy.top1)} ({row.accuracy.correct}/{row.accuracy.images})"
        agreement = "" if row.accuracy.agreement is None else percent(row.accuracy.agreement)
        agreement = "reference" if row.name == reference else agreement
    return top1, agreement, file_size(row.size_bytes), file_size(row.peak_rss_bytes)


def _best_medians(report: Report) -> frozenset[tuple[int, float]]:
    medians: dict[int, list[float]] = {}
    for row in report.rows:
        for latency in row.latencies:
            medians.setdefault(latency.batch, []).append(summarize(latency).median_ms)
    return frozenset((batch, min(values)) for batch, values in medians.items() if len(values) > 1)


def _notes(report: Report) -> list[str]:
    machine, corrupt = report.machine, [one_line(name) for name in report.corrupt]
    notes = [f"{RANDOM_WEIGHTS}."] if report.random_weights else []
    if report.timed:
        notes.append(f"Timed section: {report.settings.boundary.meaning}; the same for every row.")
        notes.append("images/s is images a run / median; 1 MB is 10^6 bytes.")
        if report.baseline is not None:
            notes.append(
                f"Time ratio: the median over the rounds of the time over {one_line(report.baseline)}'s in the same "
                "round, with its bootstrap 95 % interval; no difference is shown where that holds 1."
            )
        notes += [f"{one_line(row.name)}: its times had not settled after warming up." for row in _unsettled(report)]
    if report.reference is not None:
        notes.append(f"Agreement: the share of images with the same top class as {one_line(report.reference)}.")
    if corrupt:
        more = f" and {len(corrupt) - NAMES_SHOWN} more" if len(corrupt) > NAMES_SHOWN else ""
        notes.append(f"{_count(len(corrupt), 'corrupt image')} left out: {', '.join(corrupt[:NAMES_SHOWN])}{more}.")
    if report.timed and machine.load_1min > machine.cores:
        load = f"load {machine.load_1min:g} on {_count(machine.cores, 'core')} before measuring"
        notes.append(f"Busy machine: {load}; the times may be too long.")
    return notes


def _unsettled(report: Report) -> list[Row]:
    return [row for row in report.rows if any(not latency.warm_up.steady for latency in row.latencies)]


def _samples(report: Report) -> str:
    settings = report.settings
    turns = f"{_count(settings.rounds, 'round')} of at most {_count(settings.iterations, 'iteration')}"
    return f"{turns}, contenders interleaved" if report.timed else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
