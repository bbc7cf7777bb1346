"""Defines a lint rule and what it finds; imports only the standard library."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wrn_deploy.calib.lint.facts import GraphFacts

__all__ = ["Finding", "Place", "Rule", "Severity", "Target"]


class Severity(StrEnum):
    """Error: layers lose int8 or results are wrong. Warning: it costs speed or accuracy. Note: good to know."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Target(StrEnum):
    """The runtime that a Q/DQ graph is meant for: each fuses a different placement."""

    TENSORRT = "tensorrt"
    ONNXRUNTIME = "onnxruntime"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. An `id` is never reused; `cost` says what a finding costs, `fix` how to fix it.

    `check` yields the places where a graph breaks the rule; its docstring gives the source of the rule.
    """

    id: str
    severity: Severity
    title: str
    cost: str
    fix: str
    check: Callable[[GraphFacts], Iterable[Place]]
    targets: tuple[Target, ...] = (Target.TENSORRT, Target.ONNXRUNTIME)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a graph breaks a rule: the name of a node, or "" for the whole graph, and the values that show it."""

    node: str
    detail: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that a graph breaks at one place."""

    rule: Rule
    place: Place
