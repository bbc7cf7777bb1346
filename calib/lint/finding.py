"""What a lint rule is and what it finds; the standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Place", "Rule", "Severity", "Target"]


class Severity(StrEnum):
    """An error: integers are lost or results are wrong. A warning: it costs speed or accuracy. A note: good to know."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Target(StrEnum):
    """The runtime that a Q/DQ graph is meant for: each fuses another placement."""

    TENSORRT = "tensorrt"
    ONNXRUNTIME = "onnxruntime"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; `id` is never given to another rule. `cost` is what a finding costs, `mend` how to end it."""

    id: str
    severity: Severity
    title: str
    cost: str
    mend: str
    targets: tuple[Target, ...] = (Target.TENSORRT, Target.ONNXRUNTIME)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rule is broken: the name of a node, "" for the graph as a whole, and the values that show it."""

    node: str
    detail: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that is broken at one place."""

    rule: Rule
    place: Place
