"""What a part of the GPU report is given: its bundles and its time; and where it records what it finds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.outcome import Finding, Grid, Outcome, Verdict, file_of, write_outcome

__all__ = ["OutOfTime", "Skip", "Task"]


class Skip(Exception):  # noqa: N818 (nothing went wrong)
    """A part cannot run here, for the reason given."""


class OutOfTime(Exception):  # noqa: N818 (nothing went wrong)
    """A part stops before its end, for the reason given; what it recorded counts."""


class Task:
    """A part at work. Each record is written to its file at once, so that it survives a crash.

    Args:
        out: the report's folder.
        networks: names of all networks of the report, the most important first.
        batches: batch sizes to measure.
        seconds: time that this part has, from now on.
        outcome: what was recorded so far; the task adds to it.
    """

    def __init__(
        self,
        *,
        out: Path,
        networks: Sequence[str],
        batches: Sequence[int],
        seconds: float,
        outcome: Outcome,
    ) -> None:
        self.out, self.networks, self.batches = out, tuple(networks), tuple(batches)
        self.outcome = outcome
        self._file, self._end = file_of(out, outcome.part), time.monotonic() + seconds

    @property
    def left_s(self) -> float:
        """Seconds that it has left; below 0: it should be done."""
        return self._end - time.monotonic()

    def found(self, text: str, *, right: bool | None = None) -> None:
        """Records a sentence, and whether it is as it should be (None: neither)."""
        verdicts = {True: Verdict.RIGHT, False: Verdict.WRONG, None: Verdict.NOTE}
        self.outcome.findings.append(Finding(text, verdicts[right]))
        self._save()
        self.note(text)

    def table(self, about: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Records a table for the page."""
        self.outcome.tables.append(Grid(about=about, headers=tuple(headers), rows=tuple(map(tuple, rows))))
        self._save()

    def keep(self, name: str, value: Any) -> None:
        """Records raw numbers, as JSON types."""
        self.outcome.raw[name] = value
        self._save()

    @contextlib.contextmanager
    def task(self, title: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """As `progress.Progress`: a line when it starts."""
        done = 0

        def advance(units: int) -> None:
            nonlocal done
            done += units
            self.note(f"{title}: {done} of {total}")

        self.note(title)
        yield advance if total is not None else lambda _units: None

    def note(self, text: str) -> None:
        """Prints a line, which the report's command shows when it next says how far it is."""
        print(text, flush=True)  # noqa: T201

    def warn(self, text: str) -> None:
        """Prints a line."""
        self.note(f"warning: {text}")

    def _save(self) -> None:
        write_outcome(self._file, self.outcome)
