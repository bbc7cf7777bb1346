"""Explains why one graph or plan is faster than another: layer by layer, with the lint rules that name the layer."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from wrn_deploy.bench.report.ratios import paired_ratio
from wrn_deploy.bench.report.verdicts import Doubts, Verdict, decide
from wrn_deploy.calib.lint.finding import Finding, Target
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.graph import DEQUANTIZE, QUANTIZE
from wrn_deploy.pipeline.engines.plans import is_plan
from wrn_deploy.pipeline.inspection.node_times import (
    BETWEEN,
    RUNS,
    NodeTime,
    RunTimes,
    TimedPair,
    TimingOptions,
    match_layers,
    name_nodes,
    time_graphs,
)
from wrn_deploy.progress import Progress

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["BETWEEN", "ExplainOptions", "Explanation", "LayerRow", "Side", "TimingOptions", "explain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainOptions:
    """The two files (ONNX graphs, or plans of bundles) and the timing."""

    a: Path
    b: Path
    timing: TimingOptions


@dataclass(frozen=True, slots=True)
class Side:
    """One row in one of the two files: milliseconds (median and minimum), arithmetic, number of nodes."""

    ms: float = 0.0
    min_ms: float = 0.0
    arithmetic: str = ""
    nodes: int = 0


@dataclass(frozen=True, slots=True)
class LayerRow:
    """A layer in both, or all other nodes of one kind; `rules` are the lint rules of B that name them."""

    name: str
    a: Side
    b: Side
    rules: tuple[str, ...]

    @property
    def difference_ms(self) -> float:
        """Additional milliseconds of B."""
        return self.b.ms - self.a.ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Where the time goes in A and in B.

    The faster half of the `runs` of each counts. `rows`: largest difference first. `totals_ms`: medians of whole runs.
    `verdict`: on B's time over A's, paired by round, of all runs.
    `unaccounted_ms`: the part of them that no row has, because of `between_ms` (the runtime's own time between nodes)
    and because medians do not add up. `rules`: title and fix of each rule that a row or `graph_rules` names.
    `graph_rules`: the rules about B as a whole.
    """

    a: str
    b: str
    runtime: str
    batch: int
    runs: int
    totals_ms: tuple[float, float]
    verdict: Verdict
    unaccounted_ms: tuple[float, float]
    between_ms: tuple[float, float]
    rows: tuple[LayerRow, ...]
    rules: Mapping[str, tuple[str, str]]
    graph_rules: tuple[str, ...]


def explain(options: ExplainOptions, progress: Progress) -> Explanation:
    """Measures both in interleaved rounds and compares them layer by layer.

    Raises:
        UsageError: one is a plan and one a graph, or they cannot be given the same batch.
        DeployError: a file is damaged.
        MachineError: a package or, for plans, the GPU is missing.
    """
    plans = [is_plan(file) for file in (options.a, options.b)]
    if plans[0] is not plans[1]:
        raise UsageError(
            f"{options.a} and {options.b}: one is a plan, which runs on a GPU, and one a graph, which is timed on this "
            "CPU; expected two of the same kind"
        )
    if plans[0] and options.timing.threads is not None:
        raise UsageError(
            f"--threads {options.timing.threads} would have no effect: expected graphs; plans run on a GPU; remove it"
        )
    if plans[0]:
        from wrn_deploy.pipeline.inspection.plan_times import time_plans

        return compare(options, time_plans((options.a, options.b), options.timing, progress))
    from wrn_deploy.pipeline.read_graph import read_graph

    first, second = (_runnable(file, read_graph(file, "explaining")) for file in (options.a, options.b))
    measured = time_graphs((first, second), options.timing, progress)
    has_qdq = any(node.op_type in (QUANTIZE, DEQUANTIZE) for node in second.graph)
    timed = TimedPair(
        runtime="ONNX Runtime on this CPU",
        measured=measured,
        rows_of=match_layers((first, second), measured),
        findings=_lint(options.b, progress) if has_qdq else (),
    )
    return compare(options, timed)


def _runnable(file: Path, model: ir.Model) -> ir.Model:
    """The model with named nodes, to be run here; loops may never end, and functions hide what is run."""
    if model.functions or sum(1 for _ in model.graph.all_nodes()) > len(model.graph):
        raise DeployError(f"{file} has functions, loops or branches: expected a graph of plain layers to time")
    return name_nodes(model)


def compare(options: ExplainOptions, timed: TimedPair) -> Explanation:
    """Compares the two measurements row by row."""
    first, second = map(_undisturbed, timed.measured)
    a, b = (_sides(side, rows) for side, rows in zip((first, second), timed.rows_of, strict=True))
    rules = _rules_by_row(timed.rows_of[1], timed.findings)
    names = dict.fromkeys((*a, *b))
    rows = [LayerRow(name, a.get(name, Side()), b.get(name, Side()), rules.get(name, ())) for name in names]
    totals = (statistics.median(first.totals_ms), statistics.median(second.totals_ms))
    sums = [sum(side.ms for side in sides.values()) for sides in (a, b)]
    graph_rules = tuple(dict.fromkeys(finding.rule.id for finding in timed.findings if not finding.place.node))
    named = {*graph_rules, *(rule for row in rows for rule in row.rules)}
    return Explanation(
        a=str(options.a),
        b=str(options.b),
        runtime=timed.runtime,
        batch=options.timing.batch,
        runs=options.timing.rounds * RUNS,
        totals_ms=totals,
        verdict=_verdict(*timed.measured),
        unaccounted_ms=(totals[0] - sums[0], totals[1] - sums[1]),
        between_ms=(_between(first), _between(second)),
        rows=tuple(sorted(rows, key=lambda row: -abs(row.difference_ms))),
        rules={f.rule.id: (f.rule.title, f.rule.fix) for f in timed.findings if f.rule.id in named},
        graph_rules=graph_rules,
    )


def _verdict(a: RunTimes, b: RunTimes) -> Verdict:
    """What may be said of B's whole runs against A's; a round has RUNS of each."""
    if min(*a.totals_ms, *b.totals_ms) <= 0:  # shorter than the profiler's microsecond
        return decide(None, 1.0, Doubts())
    starts = range(0, min(len(a.totals_ms), len(b.totals_ms)), RUNS)
    ours, theirs = ([side.totals_ms[start : start + RUNS] for start in starts] for side in (b, a))
    return decide(paired_ratio(ours, theirs), min(b.totals_ms) / min(a.totals_ms), Doubts())


def _undisturbed(measured: RunTimes) -> RunTimes:
    """Keeps the faster half of the runs: other programs make a run longer, never shorter."""
    limit = statistics.median(measured.totals_ms)
    kept = [index for index, total in enumerate(measured.totals_ms) if total <= limit]
    parts = (replace(part, times_ms=tuple(part.times_ms[index] for index in kept)) for part in measured.parts)
    return RunTimes(tuple(measured.totals_ms[index] for index in kept), tuple(parts))


def _between(measured: RunTimes) -> float:
    """What a run takes beyond its nodes, in milliseconds."""
    sums = (sum(times) for times in zip(*(part.times_ms for part in measured.parts), strict=True))
    return float(statistics.median(total - nodes for total, nodes in zip(measured.totals_ms, sums, strict=True)))


def _sides(measured: RunTimes, rows_of: Mapping[str, str]) -> dict[str, Side]:
    """The rows of one side: times are added up run by run, then the median is taken."""
    parts: dict[str, list[NodeTime]] = {}
    for part in measured.parts:
        parts.setdefault(rows_of[part.name], []).append(part)
    sides = {}
    for name, own in parts.items():
        runs = [sum(times) for times in zip(*(part.times_ms for part in own), strict=True)]
        kinds = () if name.startswith(BETWEEN) else dict.fromkeys(part.arithmetic for part in own if part.arithmetic)
        sides[name] = Side(statistics.median(runs), min(runs), "+".join(kinds), len(own))
    return sides


def _rules_by_row(rows_of: Mapping[str, str], findings: Iterable[Finding]) -> dict[str, tuple[str, ...]]:
    rows = set(rows_of.values())
    found: dict[str, dict[str, None]] = {}
    for finding in findings:
        node = finding.place.node
        row = node if node in rows else rows_of.get(node)
        if row is not None:
            found.setdefault(row, {})[finding.rule.id] = None
    return {row: tuple(rules) for row, rules in found.items()}


def _lint(file: Path, progress: Progress) -> Sequence[Finding]:
    """Lints B for ONNX Runtime; a graph that cannot be linted gives a warning and no findings."""
    from wrn_deploy.pipeline.quantization.lint import lint_file

    try:
        return lint_file(file, Target.ONNXRUNTIME).findings
    except DeployError as error:
        progress.warn(f"lint skipped B: {error}")
        return ()
