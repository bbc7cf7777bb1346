"""Prints what linting a graph found, as a table or as JSON, on stdout."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wrn_deploy.pipeline.quantization.lint import Finding, LintReport, Severity, Target

__all__ = ["show_lint"]

SHOWN = 5  # places of one rule; --json has all of them
STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}


def show_lint(report: LintReport, *, as_json: bool) -> None:
    """Prints the graph's counts, then each broken rule with its places, its cost and how to fix it."""
    if as_json:
        typer.echo(json.dumps(_record(report), indent=1))
        return
    console = Console(markup=False)
    _line(console, f"{report.file} for {report.target}{_why(report)}", "bold")
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for header in ("opset", "Q", "DQ", "Convs in int8", "Convs in float", "MACs of Convs in int8"):
        table.add_column(header, justify="right")
    share = "unknown" if report.int8_share is None else f"{100 * report.int8_share:.1f} %"
    counts = (report.opset, report.quantizers, report.dequantizers, report.int8_convs, report.float_convs)
    table.add_row(*map(str, counts), share)
    console.print(table, "", sep="\n")
    for places in _by_rule(report.findings):
        _print_rule(console, places)
    _line(console, ", ".join(_counted(report.count(severity), severity) for severity in Severity))


def _print_rule(console: Console, places: list[Finding]) -> None:
    rule = places[0].rule
    console.print(Text(f"{rule.severity} {rule.id}", STYLES[rule.severity]), Text(rule.title), soft_wrap=True)
    for finding in places[:SHOWN]:
        _line(console, "  at   " + ": ".join(filter(None, (finding.place.node or "the graph", finding.place.detail))))
    if len(places) > SHOWN:
        _line(console, f"       and {len(places) - SHOWN} more; --json lists them")
    _line(console, f"  cost {rule.cost}")
    _line(console, f"  fix  {rule.fix}\n")


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


def _counted(count: int, severity: Severity) -> str:
    return f"{count} {severity}{'' if count == 1 else 's'}"


def _line(console: Console, text: str, style: str = "") -> None:
    """Prints one line at any terminal width, so that it can be searched and copied."""
    console.print(Text(text, style), soft_wrap=True)
