"""Lints a Q/DQ graph in a file: finds what prevents integer kernels, and counts how much can run in integers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.calib.lint.finding import Finding, Severity, Target
from wrn_deploy.errors import DamagedFile, DeployError, GateError
from wrn_deploy.pipeline.read_graph import EXPECTED, read_graph

__all__ = ["Finding", "LintReport", "Severity", "Target", "check_findings", "lint_file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LintReport:
    """The counts of a graph and the findings in it.

    `guessed`: the target follows from the graph's zero points. `int8_share`: the fraction of the Convs'
    multiply-accumulates that can run in int8, None if the file does not give the shapes.
    """

    file: str
    target: Target
    guessed: bool
    opset: int
    quantizers: int
    dequantizers: int
    int8_convs: int
    float_convs: int
    int8_share: float | None
    findings: tuple[Finding, ...]

    def count(self, severity: Severity) -> int:
        """The number of findings of this severity."""
        return sum(finding.rule.severity is severity for finding in self.findings)


def lint_file(file: Path, target: Target | None) -> LintReport:
    """Lints the graph in `file` for `target`, or for the runtime that its zero points suggest.

    Raises:
        DeployError: the file is not an ONNX graph, its tensors cannot be read, or it is a graph in fp8.
        MachineError: onnx is not installed.
    """
    model = read_graph(file, "linting a graph")
    from wrn_deploy.calib.lint.facts import GraphFacts, guess_target, lint_graph
    from wrn_deploy.calib.lint.passing import without_passing
    from wrn_deploy.export.interface import unwrap

    model = without_passing(unwrap(model))  # the interface normalises pixels in float, which the network does not
    try:
        facts = GraphFacts(model)
        if facts.has_fp8:
            raise DeployError(
                f"{file} has fp8 codes: expected int8, the only codes that the rules cover; `wrn-deploy inspect` shows "
                "how much of a graph is in fp8"
            )
        assumed = target or guess_target(model)
        findings = lint_graph(model, assumed)
        int8 = facts.int8_convs
        fraction = facts.macs_fraction(int8)
    except (OSError, TypeError, ValueError) as error:  # tensors in missing files, or of wrong sizes
        raise DamagedFile(f"{file} is damaged, or its data is missing ({error}): {EXPECTED}") from error
    return LintReport(
        file=str(file),
        target=assumed,
        guessed=target is None,
        opset=facts.opset,
        quantizers=len(facts.quantizers),
        dequantizers=len(facts.dequantizers),
        int8_convs=len(int8),
        float_convs=len(facts.convs) - len(int8),
        int8_share=fraction,
        findings=tuple(findings),
    )


def check_findings(report: LintReport) -> None:
    """The gate: raises GateError if there is an error among the findings."""
    errors = [finding.rule.id for finding in report.findings if finding.rule.severity is Severity.ERROR]
    if errors:
        ids = ", ".join(dict.fromkeys(errors))
        raise GateError(
            f"{report.file} breaks {ids} in {len(errors)} {'place' if len(errors) == 1 else 'places'}: expected no "
            f"errors for {report.target}; fix them as the report says, or choose another --target"
        )
