"""Reads the log of a training run, one JSON line an epoch, as curves; the standard library only."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wrn_deploy.errors import DamagedFile, DeployError, OverLimit
from wrn_deploy.files.budget import budget
from wrn_deploy.files.text import read_text

__all__ = ["Curves", "EpochPoint", "read_runs"]

LOG = "log.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochPoint:
    """One epoch, counted from 1; errors are top-1 in percent; None: not in the log, or not finite."""

    epoch: int
    loss: float | None
    learning_rate: float | None
    train_error: float | None
    test_error: float | None


@dataclass(frozen=True, slots=True)
class Curves:
    """A run: its name, where its log is, and its epochs in their order."""

    name: str
    file: Path
    epochs: tuple[EpochPoint, ...]

    @property
    def last(self) -> EpochPoint:
        """The last epoch."""
        return self.epochs[-1]

    @property
    def best(self) -> EpochPoint | None:
        """The first epoch with the lowest error on test images; None: never tested."""
        tested = (point for point in self.epochs if point.test_error is not None)
        return min(tested, key=lambda point: (point.test_error, point.epoch), default=None)


def read_runs(paths: Sequence[Path]) -> list[Curves]:
    """Reads runs from folders that `wrn-deploy train` wrote, or from log files; names are short, but distinct.

    Raises:
        DeployError: a log is missing, empty or damaged; the text has the line.
    """
    files = [path / LOG if path.is_dir() else path for path in paths]
    names = _names([file.parent if file.name == LOG else file for file in map(Path.absolute, files)])
    return [Curves(name, file, _epochs(file)) for name, file in zip(names, files, strict=True)]


def _names(paths: Sequence[Path]) -> list[str]:
    """The last N parts of the paths, with the smallest N that makes them distinct."""
    longest = max(len(path.parts) for path in paths)
    choices = (["/".join(path.parts[-count:]) for path in paths] for count in range(1, longest + 1))
    return next(names for names in choices if len(set(names)) == len(set(paths)))


def _epochs(file: Path) -> tuple[EpochPoint, ...]:
    try:
        lines = read_text(file).splitlines()
    except OverLimit:
        raise
    except (OSError, DamagedFile) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it {str(error).removeprefix(f'{file} ')}"
        raise DeployError(
            f"no training log can be read at {file} ({reason}): expected the folder of a run, as `wrn-deploy train "
            "--out FOLDER` makes it, or its log.jsonl"
        ) from error
    points: dict[int, EpochPoint] = {}
    budget().check("parts", len(lines), file)
    for number, line in enumerate(lines, start=1):
        if line.strip():
            point = _point(line, f"{file}, line {number}")
            points[point.epoch] = point
    if not points:
        raise DeployError(f"{file} has no epochs: expected one line per epoch; train longer, or choose another run")
    return tuple(points[epoch] for epoch in sorted(points))


def _point(line: str, where: str) -> EpochPoint:
    try:
        record = json.loads(line)  # not strict: a run that diverged has NaN
        return EpochPoint(
            epoch=int(record["epoch"]) + 1,
            loss=_number(record.get("loss")),
            learning_rate=_number(record.get("learning_rate")),
            train_error=_error(record.get("train_top1")),
            test_error=_error(record.get("test_top1")),
        )
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise DamagedFile(
            f"{where} is not an epoch of a training log ({error!r}): expected a JSON object with `epoch`, `loss`, "
            "`learning_rate`, `train_top1` and `test_top1`"
        ) from error


def _number(value: Any) -> float | None:
    number = None if value is None else float(value)
    return number if number is not None and math.isfinite(number) else None


def _error(top1: Any) -> float | None:
    """Percent wrong, rounded to hide binary fractions."""
    number = _number(top1)
    return None if number is None else round(100.0 * (1.0 - number), 6)
