"""A forecast as data: the steps of a command, their files, times, and what is up to date."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wrn_deploy.pipeline.forecast.estimates import Estimate

__all__ = ["Forecast", "Step", "forecast"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a command.

    Attributes:
        name: as in "calibrate".
        up_to_date: whether it would be skipped; None: known only after the steps before it.
        about: what it would do, in a few words.
        files: what it would write -> about how many bytes.
        time: how long it would take, if it ran.
        not_here: why it cannot run on this machine; None: it can.
    """

    name: str
    about: str
    up_to_date: bool | None = False
    files: Mapping[str, int] = field(default_factory=dict)
    time: Estimate = field(default_factory=lambda: Estimate(seconds=0.0, basis=""))
    not_here: str | None = None

    @property
    def runs(self) -> bool:
        """Whether it would do something."""
        return self.not_here is None and not self.up_to_date


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a command would do.

    Attributes:
        folder: where it would write.
        steps: in their order.
        size_bytes: of all files that it would write, about.
        free_bytes: what the disk has.
        seconds: of the steps whose time is known, together; about.
        unknown: names of the steps whose time is not.
    """

    folder: str
    steps: tuple[Step, ...]
    size_bytes: int
    free_bytes: int
    seconds: float
    unknown: tuple[str, ...]


def forecast(folder: Path, steps: Sequence[Step]) -> Forecast:
    """The forecast of these steps."""
    running = [step for step in steps if step.runs]
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return Forecast(
        folder=str(folder),
        steps=tuple(steps),
        size_bytes=sum(size for step in running for size in step.files.values()),
        free_bytes=shutil.disk_usage(there).free,
        seconds=sum(step.time.seconds or 0.0 for step in running),
        unknown=tuple(step.name for step in running if step.time.seconds is None),
    )
