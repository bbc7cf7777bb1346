"""Prints what tuning, fine-tuning and linting found, as tables or as JSON, on stdout."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable
from typing import Any

from rich.table import Table
from rich.text import Text

from wrn_deploy.bench.report.finetuning import Finetuned, Finetuning, Standing
from wrn_deploy.bench.report.tuning import Trial, Tuning
from wrn_deploy.cli.show.tables import (
    new_table,
    print_heading,
    print_json,
    print_json_text,
    print_line,
    print_table,
)
from wrn_deploy.formatting import count, describe_loss, percent, signed
from wrn_deploy.pipeline.quantization.lint import Finding, LintReport, Severity, Target

__all__ = ["show_finetuning", "show_lint", "show_tuning"]

SHOWN = 10  # layers; --json has all of them
SHOWN_PLACES = 5  # of one rule; --json has all of them
STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}


def show_tuning(tuning: Tuning, *, as_json: bool) -> None:
    """Prints the frontier, the costliest layers, and the Convs that stay in fp16."""
    if as_json:
        print_json_text(tuning.to_json())
        return
    reference = tuning.reference
    about = f"{tuning.model} on {tuning.data}, {reference.images} images: fp32 {percent(reference.top1)}"
    print_heading(about, random_weights=tuning.random_weights)
    print_table(_frontier(tuning))
    print_table(_layers(tuning))
    if len(tuning.layers) > SHOWN:
        print_line(f"and {len(tuning.layers) - SHOWN} more Convs; --json lists them and every set that was tried")
    print_line(_outcome(tuning))


def _frontier(tuning: Tuning) -> Table:
    headers = ("fp16 Convs", "MACs in int8", "top-1", "change", "±", "agreement", "logit error")
    table = new_table(*headers, "", right=headers)
    for trial in tuning.frontier:
        score = trial.score
        table.add_row(
            str(len(trial.float_convs)),
            f"{100 * trial.int8_share:.1f} %",
            percent(score.top1),
            signed(-tuning.drop(score)),
            f"{tuning.uncertainty(score):.2f}",
            percent(score.agreement),
            f"{score.error:.3g}",
            _mark(trial, tuning),
            style="bold" if trial == tuning.chosen else None,
        )
    return table


def _mark(trial: Trial, tuning: Tuning) -> str:
    if trial == tuning.chosen:
        return "<- chosen"
    return "meets" if tuning.budget.met(trial.score, tuning.reference) else ""


def _layers(tuning: Tuning) -> Table:
    chosen = tuning.chosen.float_convs if tuning.chosen is not None else ()
    macs = sum(layer.macs for layer in tuning.layers)
    numbers = ("MACs", "logit error alone", "agreement alone")
    table = new_table("Conv, costliest per MAC first", *numbers, "", right=numbers)
    for layer in tuning.layers[:SHOWN]:
        alone = (f"{layer.alone.error:.3g}", percent(layer.alone.agreement))
        kept = "<- fp16" if layer.name in chosen else ""
        table.add_row(layer.name, f"{100 * layer.macs / macs:.1f} %", *alone, kept)
    return table


def _outcome(tuning: Tuning) -> str:
    if tuning.chosen is None:
        return f"no set met {tuning.budget}"
    kept = ", ".join(tuning.chosen.float_convs) or "none"
    fraction = f"{100 * tuning.chosen.int8_share:.1f} % of MACs in int8"
    return f"kept in fp16: {kept}; {fraction}, {describe_loss(tuning.drop(tuning.chosen.score))}"


def show_finetuning(result: Finetuning, *, as_json: bool) -> None:
    """Prints how each graph did on the held-out images, and which step's values were written."""
    if as_json:
        print_json_text(result.to_json())
        return
    reference = result.reference
    top1 = "" if reference.top1 is None else f", fp32 {percent(reference.top1)} correct"
    about = f"{result.model} trained on {result.data}, {result.images} images"
    print_heading(about, random_weights=result.random_weights)
    print_line(f"evaluated on {reference.images} held-out images of {result.held_out}{top1}")
    numbers = ("loss", "agreement", "±", "top-1")
    table = new_table("graph", "", *numbers, "", right=numbers)
    for graph in result.graphs:
        _add(table, graph, result)
    print_table(table)
    improved = ", ".join(graph.key for graph in result.improved) or "none"
    print_line(f"written: {improved}")


def _add(table: Table, graph: Finetuned, result: Finetuning) -> None:
    table.add_row(graph.key, "before", *_cells(graph.before, result), "")
    if graph.kept is None:
        table.add_row("", "after", "", "", "", "", "no improvement: unchanged")
        return
    steps = f"<- written, {graph.kept} of {result.schedule['steps']} steps"
    table.add_row("", "after", *_cells(graph.after, result), steps, style="bold")


def _cells(standing: Standing, result: Finetuning) -> list[str]:
    right = "" if standing.top1 is None else percent(standing.top1)
    return [f"{standing.loss:.4g}", percent(standing.agreement), f"{result.uncertainty(standing):.2f}", right]


def show_lint(report: LintReport, *, as_json: bool) -> None:
    """Prints the graph's counts, then each broken rule with its places, its cost and how to fix it."""
    if as_json:
        print_json(_record(report))
        return
    print_line(f"{report.file} for {report.target}{_why(report)}", "bold")
    headers = ("opset", "Q", "DQ", "Convs in int8", "Convs in float", "MACs of Convs in int8")
    table = new_table(*headers, right=headers)
    fraction = "unknown" if report.int8_share is None else f"{100 * report.int8_share:.1f} %"
    counts = (report.opset, report.quantizers, report.dequantizers, report.int8_convs, report.float_convs)
    table.add_row(*map(str, counts), fraction)
    print_table(table)
    for places in _by_rule(report.findings):
        _print_rule(places)
    print_line(", ".join(count(report.count(severity), severity) for severity in Severity))


def _print_rule(places: list[Finding]) -> None:
    rule = places[0].rule
    print_line(Text.assemble((f"{rule.severity} {rule.id}", STYLES[rule.severity]), " ", rule.title))
    for finding in places[:SHOWN_PLACES]:
        print_line("  at   " + ": ".join(filter(None, (finding.place.node or "the graph", finding.place.detail))))
    if len(places) > SHOWN_PLACES:
        print_line(f"       and {len(places) - SHOWN_PLACES} more; --json lists them")
    print_line(f"  cost {rule.cost}")
    print_line(f"  fix  {rule.fix}")
    print_line()


def _record(report: LintReport) -> dict[str, Any]:
    counts = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    findings = []
    for places in _by_rule(report.findings):
        rule = dataclasses.asdict(places[0].rule)
        del rule["check"]
        findings.append({**rule, "places": [dataclasses.asdict(finding.place) for finding in places]})
    found = {f"{severity}s": report.count(severity) for severity in Severity}
    return {**counts, **found, "findings": findings}


def _by_rule(findings: Iterable[Finding]) -> list[list[Finding]]:
    return [list(places) for _, places in itertools.groupby(findings, key=lambda finding: finding.rule.id)]


def _why(report: LintReport) -> str:
    if not report.guessed:
        return ""
    reason = "its activations are uint8" if report.target is Target.ONNXRUNTIME else "no activation is uint8"
    return f" (assumed, as {reason}; --target chooses another)"
