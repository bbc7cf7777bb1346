"""Explains why one graph or plan is faster than another: layer by layer, with the lint rules that name the layer."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wrn_deploy.calib.lint.finding import Finding, Target
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.pipeline.engines.plans import is_plan
from wrn_deploy.pipeline.inspection.layer_matching import BETWEEN, find_homes, name_nodes
from wrn_deploy.pipeline.inspection.node_times import RUNS, Measured, Timed, Turns, time_graphs
from wrn_deploy.progress import Progress

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["BETWEEN", "ExplainOptions", "Explanation", "Row", "Side", "Turns", "explain"]


@dataclass(frozen=True, slots=True)
class ExplainOptions:
    """The two files, ONNX graphs or plans of bundles, and how they are measured."""

    a: Path
    b: Path
    turns: Turns


@dataclass(frozen=True, slots=True)
class Side:
    """One row in one of the two: milliseconds (median and least), what it computes in, how many nodes."""

    ms: float = 0.0
    least_ms: float = 0.0
    arithmetic: str = ""
    nodes: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A layer in both, or all other nodes of one kind; `rules` are the lint rules of B that name them."""

    name: str
    a: Side
    b: Side
    rules: tuple[str, ...]

    @property
    def difference_ms(self) -> float:
        """Milliseconds that B takes more."""
        return self.b.ms - self.a.ms


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where the time goes in A and in B.

    Of `runs` of each the faster half counts. `rows` have the largest difference first. `totals_ms` are medians of whole
    runs, and `unaccounted_ms` what of these no row has: `between_ms`, the runtime's own time between nodes, and that
    medians do not add up. `rules` has title and remedy of each rule that is named, and `graph_rules` those that are
    about B as a whole.
    """

    a: str
    b: str
    runtime: str
    batch: int
    runs: int
    totals_ms: tuple[float, float]
    unaccounted_ms: tuple[float, float]
    between_ms: tuple[float, float]
    rows: tuple[Row, ...]
    rules: Mapping[str, tuple[str, str]]
    graph_rules: tuple[str, ...]


def explain(options: ExplainOptions, progress: Progress) -> Explanation:
    """Measures both in turns and compares them.

    Raises:
        UsageError: one is a plan and one a graph, or they cannot be given the same batch.
        DeployError: a file is damaged.
        MachineError: a package or, for plans, the GPU is missing.
    """
    kinds = [is_plan(file) for file in (options.a, options.b)]
    if kinds[0] is not kinds[1]:
        raise UsageError(
            f"{options.a} and {options.b}: one is a plan, which runs on a GPU, and one a graph, which is timed on this "
            "CPU; expected two of a kind"
        )
    if kinds[0]:
        from wrn_deploy.pipeline.inspection.plan_times import time_plans

        timed = time_plans((options.a, options.b), options.turns, progress)
        return compare(options, timed.runtime, timed.measured, (timed.homes, timed.findings))
    from wrn_deploy.pipeline.read_graph import read_graph

    first, second = (name_nodes(read_graph(file, "explaining")) for file in (options.a, options.b))
    measured = time_graphs((first, second), options.turns, progress)
    findings = _lint(options.b, progress) if _has_qdq(second) else ()
    return compare(options, "ONNX Runtime on this CPU", measured, (find_homes((first, second), measured), findings))


Homes = tuple[Mapping[str, str], Mapping[str, str]]  # for A and for B: a part's name -> the row it belongs to


def compare(
    options: ExplainOptions,
    runtime: str,
    measured: tuple[Measured, Measured],
    known: tuple[Homes, Sequence[Finding]],
) -> Explanation:
    """The rows of two measurements.

    Args:
        options: what was measured.
        runtime: what ran it.
        measured: A's and B's.
        known: the row of each part, and the findings of linting B, named by parts or by rows.
    """
    homes, findings = known
    measured = (_undisturbed(measured[0]), _undisturbed(measured[1]))
    sides = [_sides(side, where) for side, where in zip(measured, homes, strict=True)]
    naming = _rules_by_row(measured[1].parts, homes[1], findings)
    rows = [
        Row(name, sides[0].get(name, Side()), sides[1].get(name, Side()), naming.get(name, ()))
        for name in dict.fromkeys((*sides[0], *sides[1]))
    ]
    totals = tuple(statistics.median(side.totals_ms) for side in measured)
    sums = tuple(sum(side.ms for side in rows_of.values()) for rows_of in sides)
    named = {rule for row in rows for rule in row.rules}
    whole = dict.fromkeys(finding.rule.id for finding in findings if not finding.place.node)
    return Explanation(
        a=str(options.a),
        b=str(options.b),
        runtime=runtime,
        batch=options.turns.batch,
        runs=options.turns.rounds * RUNS,
        totals_ms=(totals[0], totals[1]),
        unaccounted_ms=(totals[0] - sums[0], totals[1] - sums[1]),
        between_ms=(_between(measured[0]), _between(measured[1])),
        rows=tuple(sorted(rows, key=lambda row: -abs(row.difference_ms))),
        rules={f.rule.id: (f.rule.title, f.rule.fix) for f in findings if f.rule.id in named or f.rule.id in whole},
        graph_rules=tuple(whole),
    )


def _undisturbed(measured: Measured) -> Measured:
    """The faster half of the runs: another program's turn on the CPU makes a run longer, never shorter."""
    limit = statistics.median(measured.totals_ms)
    kept = [index for index, total in enumerate(measured.totals_ms) if total <= limit]
    parts = (
        Timed(part.name, part.kind, part.arithmetic, tuple(part.times_ms[index] for index in kept))
        for part in measured.parts
    )
    return Measured(tuple(measured.totals_ms[index] for index in kept), tuple(parts))


def _between(measured: Measured) -> float:
    """What a run takes beyond its nodes, in milliseconds."""
    sums = (sum(times) for times in zip(*(part.times_ms for part in measured.parts), strict=True))
    return float(statistics.median(total - nodes for total, nodes in zip(measured.totals_ms, sums, strict=True)))


def _sides(measured: Measured, homes: Mapping[str, str]) -> dict[str, Side]:
    """The rows of one: times are added up run by run before the median is taken."""
    parts: dict[str, list[Timed]] = {}
    for part in measured.parts:
        parts.setdefault(homes[part.name], []).append(part)
    sides = {}
    for name, own in parts.items():
        runs = [sum(times) for times in zip(*(part.times_ms for part in own), strict=True)]
        kinds = () if name.startswith(BETWEEN) else dict.fromkeys(part.arithmetic for part in own if part.arithmetic)
        sides[name] = Side(statistics.median(runs), min(runs), "+".join(kinds), len(own))
    return sides


def _rules_by_row(
    parts: Iterable[Timed], homes: Mapping[str, str], findings: Iterable[Finding]
) -> dict[str, tuple[str, ...]]:
    rows = set(homes.values())
    by_name = {part.name: homes[part.name] for part in parts}
    found: dict[str, dict[str, None]] = {}
    for finding in findings:
        node = finding.place.node
        row = node if node in rows else by_name.get(node, homes.get(node))
        if row is not None:
            found.setdefault(row, {})[finding.rule.id] = None
    return {row: tuple(rules) for row, rules in found.items()}


def _lint(file: Path, progress: Progress) -> Sequence[Finding]:
    """What linting finds, for the runtime that the times are of; nothing, and a warning, where it cannot lint it."""
    from wrn_deploy.pipeline.quantization.lint import lint_file

    try:
        return lint_file(file, Target.ONNXRUNTIME).findings
    except DeployError as error:
        progress.warn(f"B is not linted: {error}")
        return ()


def _has_qdq(model: ir.Model) -> bool:
    return any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph)
