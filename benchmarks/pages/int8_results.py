"""Reads the results of `benchmarks/int8/accuracy.py`: rows by network and name, and which of them nothing beats."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.int8.rows import FRONTIER, SHIPPED
from benchmarks.pages.results_tables import CALIBRATED, DATA, int8_file

__all__ = ["DEFAULT", "EXACT", "JPEG", "ONNXRUNTIME", "Results", "Scored", "read_results", "unbeaten"]

DEFAULT, ONNXRUNTIME = (f"{SHIPPED.name}, for {runtime}" for runtime in ("TensorRT", "ONNX Runtime"))
EXACT, JPEG = DATA
PREFIXES = ("int8", "int8-frontier", "int8-peers")  # of files: the last two may be measured on their own


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A row of the frontier: its name, and where it stands.

    Attributes:
        name: as in `rows.py`.
        cpu_s: CPU seconds of the whole process.
        logit_error: mean squared error of the logits on the JPEG test images.
    """

    name: str
    cpu_s: float
    logit_error: float

    def beats(self, other: Scored) -> bool:
        """Whether it is at least as cheap and as near to fp32, and better in one of both."""
        no_worse = self.cpu_s <= other.cpu_s and self.logit_error <= other.logit_error
        return no_worse and (self.cpu_s < other.cpu_s or self.logit_error < other.logit_error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """One network of one file of results: the rows by name, in the file's order."""

    model: str
    file: Path
    record: Mapping[str, Any]
    rows: Mapping[str, Mapping[str, Any]]

    @property
    def frontier(self) -> list[Scored]:
        """The default and the rows of FRONTIER that were measured and did not fail."""
        found = ((name, self.rows.get(name)) for name in (DEFAULT, *(row.name for row in FRONTIER)))
        return [
            Scored(name=name, cpu_s=row["cost"]["cpu_s"], logit_error=row["accuracy"][JPEG]["logit_error"])
            for name, row in found
            if row is not None and not row["cost"]["error"] and JPEG in row["accuracy"]
        ]


def read_results(root: Path, names: Collection[str] = ()) -> list[Results]:
    """Each network's results, from the first of its files that has one of the named rows (none named: one of FRONTIER).

    A network without is left out, as is a file whose rows have no costs of whole processes.
    """
    wanted = set(names or (row.name for row in FRONTIER))
    found = []
    for model in CALIBRATED:
        for prefix in PREFIXES:
            file = int8_file(root, f"{prefix}-{model}")
            record = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"models": {}}
            rows = {row["name"]: row for row in record["models"].get(model, ()) if "cost" in row}
            if wanted & {*rows}:
                found.append(Results(model=model, file=file, record=record, rows=rows))
                break
    return found


def unbeaten(rows: Sequence[Scored]) -> list[Scored]:
    """The rows that no other one beats, the cheapest first."""
    front = [row for row in rows if not any(other.beats(row) for other in rows)]
    return sorted(front, key=lambda row: (row.cpu_s, row.name))
