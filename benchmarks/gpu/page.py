"""Writes the GPU report as one self-contained page, with the templates beside this file and those of reports."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu.outcome import Finding, Grid, Outcome, State, Verdict
from benchmarks.gpu.parts import Part
from wrn_deploy.bench.report.report import Boundary, Report
from wrn_deploy.files.new_file import write_whole
from wrn_deploy.formatting import count, file_size
from wrn_deploy.rendering.page import Figure, draw_figure, open_templates, page_of
from wrn_deploy.rendering.pictures.sweep import draw_batches

__all__ = ["write_page"]

TEMPLATES = Path(__file__).parent / "templates"
SHOWN = 8  # findings at the top
NUMBERS = frozenset("0123456789.,<>%-() ")


@dataclass(frozen=True, slots=True)
class _Line:
    """A row of a table; `span` is the number of rows from here with the same first cell, 0 within them."""

    cells: tuple[str, ...]
    span: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    about: str
    headers: tuple[str, ...]
    lines: tuple[_Line, ...]
    is_text: tuple[bool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """A part as the page shows it."""

    name: str
    title: str
    state: str
    seconds: str
    reason: str
    findings: Sequence[Finding]
    shown: Sequence[tuple[Figure | None, _Table]]


def write_page(file: Path, record: Mapping[str, Any], parts: Sequence[Part], outcomes: Mapping[str, Outcome]) -> None:
    """Writes the page of the parts that have an outcome, in their order.

    Args:
        file: the page.
        record: what all parts share: machine, versions, seconds, and what stands in for a driver.
        parts: all parts.
        outcomes: by name.
    """
    templates = open_templates(TEMPLATES)
    known = [(part, outcomes[part.name]) for part in parts if part.name in outcomes]
    wrong = [{"part": part.title, "text": text} for part, outcome in known for text in _wrong(outcome)]
    sections = [_section(part, outcome) for part, outcome in known]
    speeds = _speeds(outcome for _, outcome in known)
    if record["stand_in"]:
        speeds = dataclasses.replace(speeds, about=f"{record['stand_in']}. {speeds.about}")
    states = [outcome.state for outcome in outcomes.values()]
    counted = [f"{count(states.count(state), 'part')} {state}" for state in State if state in states]
    waiting = len(parts) - len(outcomes)
    if waiting:
        counted.append(f"{count(waiting, 'part')} to come")
    seconds = int(record["seconds"])
    gpu = record["machine"]["gpu"]
    overview = Grid(
        about="The parts in the order they ran; one that was shortened or skipped runs again with the next call.",
        headers=("Part", "State", "Seconds", "Why"),
        rows=tuple((each.title, each.state, each.seconds, each.reason) for each in sections),
    )
    page = page_of(
        templates,
        "gpu.html",
        "gpu.css",
        title=f"GPU report: {gpu['name']}{' (stand-in driver)' if record['stand_in'] else ''}",
        about=f"driver {gpu['driver']}, compute capability {gpu['compute_capability']}, "
        f"{file_size(gpu['memory_mib'] * 2**20)}; networks with random weights",
        stand_in=record["stand_in"],
        summary=f"{'; '.join(counted)}. This run took {seconds // 60} min {seconds % 60} s.",
        wrong=wrong[:SHOWN],
        more_wrong=len(wrong[SHOWN:]),
        speeds=_table(speeds) if speeds.rows else None,
        parts=sections,
        overview=_table(overview),
        environment=_environment(record),
    )
    write_whole(file, page)


def _wrong(outcome: Outcome) -> list[str]:
    """What of a part is not as it should be: its findings, or without any why it failed."""
    texts = [finding.text for finding in outcome.findings if finding.verdict is Verdict.WRONG]
    return texts or ([outcome.reason] if outcome.state is State.FAILED else [])


def _section(part: Part, outcome: Outcome) -> _Section:
    return _Section(
        name=part.name,
        title=part.title,
        state=outcome.state,
        seconds=f"{outcome.seconds:.0f}" if outcome.seconds else "",
        reason=outcome.reason,
        findings=outcome.findings,
        shown=list(zip(_figures(part, outcome), map(_table, outcome.tables), strict=False)),
    )


def _figures(part: Part, outcome: Outcome) -> Iterator[Figure | None]:
    """What belongs above each of a part's tables: throughput against batch size, if the table is one of times."""
    from pydantic import TypeAdapter

    for index, record in enumerate(outcome.raw.get("reports", [])):
        known = {name: value for name, value in record.items() if name not in ("format", "derived")}
        report = TypeAdapter(Report).validate_json(json.dumps(known), strict=True)
        if report.timed:
            yield next(iter(draw_figure(f"{part.name}-{index}", partial(draw_batches, report))), None)
    yield from itertools.repeat(None)


def _speeds(outcomes: Iterable[Outcome]) -> Grid:
    """Images per second of every plan that was benchmarked, inference alone, with the part of the roofline."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for outcome in outcomes:
        for speed in outcome.raw.get("speeds", []) if outcome.part.startswith("bench-") else []:
            if speed["boundary"] == Boundary.COMPUTE:
                share = f" ({speed['of roofline']})" if speed["of roofline"] else ""
                found.setdefault((speed["network"], speed["Candidate"]), {})[speed["Batch"]] = speed["images/s"] + share
    batches = sorted({batch for values in found.values() for batch in values}, key=int)
    rows = [(*name, *(values.get(batch, "") for batch in batches)) for name, values in found.items()]
    about = "Images per second, inference only, by batch size; in brackets the fraction of the roofline."
    return Grid(about=about, headers=("Network", "Plan", *batches), rows=tuple(rows))


def _table(grid: Grid) -> _Table:
    lines: list[_Line] = []
    for _, same in itertools.groupby(grid.rows, key=lambda row: row[0]):
        rows = list(same)
        lines += [_Line(row, len(rows) if index == 0 else 0) for index, row in enumerate(rows)]
    columns = list(zip(*grid.rows, strict=True)) or [()] * len(grid.headers)
    texts = tuple(any(set(cell) - NUMBERS for cell in column) for column in columns)
    return _Table(about=grid.about, headers=grid.headers, lines=tuple(lines), is_text=texts)


def _environment(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    machine = record["machine"]
    found = [
        ("CPU", f"{machine['cpu']}, {count(machine['cores'], 'core')}"),
        ("memory", f"{machine['memory_mib'] / 1024:.1f} GiB"),
        ("system", f"{machine['system']}, Python {machine['python']}"),
        ("networks", ", ".join(record["networks"])),
        ("batch sizes", ", ".join(map(str, record["batches"]))),
        ("git", record["git_revision"] or "not a checkout"),
    ]
    return [*found, *record["versions"].items()]
