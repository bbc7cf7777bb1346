"""Runs the rules on a graph; the modules of `rules/` hold them, by kind."""

from __future__ import annotations

import onnx_ir as ir

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Finding, Rule, Severity, Target
from wrn_deploy.graph import codes_type
from wrn_deploy.plugins import load_plugin, plugin_names

__all__ = ["guess_target", "lint_graph", "load_rules"]

RULES = "wrn_deploy.calib.lint.rules"


def load_rules() -> list[Rule]:
    """All rules, by id."""
    return sorted((rule for name in plugin_names(RULES) for rule in load_plugin(RULES, name).RULES), key=lambda r: r.id)


def lint_graph(model: ir.Model, target: Target) -> list[Finding]:
    """Finds every place where `model` breaks a rule for `target`; errors first, then by rule and graph order."""
    facts = GraphFacts(model)
    rules = [rule for rule in load_rules() if target in rule.targets]
    findings = [Finding(rule, place) for rule in rules for place in rule.check(facts)]
    return sorted(findings, key=lambda finding: [*Severity].index(finding.rule.severity))


def guess_target(model: ir.Model) -> Target:
    """ONNX Runtime if a tensor is quantized to uint8, as its CPU kernels need; else TensorRT."""
    unsigned = any(codes_type(node) is ir.DataType.UINT8 for node in GraphFacts(model).activation_quantizers)
    return Target.ONNXRUNTIME if unsigned else Target.TENSORRT
