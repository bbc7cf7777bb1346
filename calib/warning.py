"""Defines the warning that a guard gives about an int8 network, and its text; imports neither numpy nor onnx."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wrn_deploy.progress import Progress

__all__ = ["SHOWN", "CalibrationWarning", "join_names", "report_warnings"]

SHOWN = 3  # names that a text lists


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationWarning:
    """One guard's warning; `dataclasses.asdict` gives what JSON can hold."""

    id: str  # the guard's, never reused; docs/guards.md explains it
    names: tuple[str, ...]  # the tensors, layers or files concerned, the worst first
    numbers: Mapping[str, float]  # the measured values, and the limit that they exceed
    found: str  # what the guard found, with the values
    remedy: str  # why it matters and what to do

    @property
    def text(self) -> str:
        """About two lines of a terminal."""
        return f"{self.found}: {self.remedy} [{self.id}]"


def join_names(names: Sequence[str]) -> str:
    """The first names, as in "a, b, c and 4 more"."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def report_warnings(warnings: Iterable[CalibrationWarning], progress: Progress) -> None:
    """Prints each warning through `progress`."""
    for warning in warnings:
        progress.warn(warning.text)
