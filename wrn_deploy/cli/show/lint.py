"""Prints what linting a graph found, as a table or as JSON, on stdout."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable
from typing import Any

from rich.text import Text

from wrn_deploy.cli.show.tables import new_table, print_json, print_line, print_table
from wrn_deploy.formatting import count
from wrn_deploy.pipeline.quantization.lint import Finding, LintReport, Severity, Target

__all__ = ["show_lint"]

SHOWN = 5  # places of one rule; --json has all of them
STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}


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
    for finding in places[:SHOWN]:
        print_line("  at   " + ": ".join(filter(None, (finding.place.node or "the graph", finding.place.detail))))
    if len(places) > SHOWN:
        print_line(f"       and {len(places) - SHOWN} more; --json lists them")
    print_line(f"  cost {rule.cost}")
    print_line(f"  fix  {rule.fix}\n")


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
