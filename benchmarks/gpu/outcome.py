"""What one part of the GPU report found, as a JSON file: written while it runs, read by the page and by later runs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from benchmarks.output import write_record

__all__ = ["Finding", "Grid", "Outcome", "State", "Verdict", "file_of", "read_outcome", "write_outcome"]


class State(StrEnum):
    """How a part ended; one that was shortened or skipped runs again with the next call."""

    RAN = "ran"
    SHORTENED = "shortened"
    FAILED = "failed"
    SKIPPED = "skipped"


class Verdict(StrEnum):
    """Whether a finding is as it should be; a note is neither."""

    RIGHT = "right"
    WRONG = "wrong"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence."""

    text: str
    verdict: Verdict = Verdict.NOTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table of the page; `about` describes it."""

    about: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(slots=True, kw_only=True)
class Outcome:
    """A part's result.

    Args:
        part: its name.
        state: how it ended.
        reason: why it failed, was skipped or shortened.
        seconds: what it took.
        settings: what it ran with; a later run keeps the result only if these are the same.
        findings: sentences, in order.
        tables: for the page.
        raw: the numbers.
    """

    part: str
    state: State
    reason: str = ""
    seconds: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    tables: list[Grid] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether a later run keeps it: it came to its end, in whatever way."""
        return self.state in (State.RAN, State.FAILED)


def file_of(out: Path, part: str) -> Path:
    """The file of a part's outcome in a report's folder."""
    return out / "parts" / f"{part}.json"


def read_outcome(file: Path) -> Outcome | None:
    """Reads a part's file; None: there is none, or it is not one, so that the part runs again."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Outcome).validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None


def write_outcome(file: Path, outcome: Outcome) -> None:
    """Writes a part's file in one step."""
    write_record(file, dataclasses.asdict(outcome))
