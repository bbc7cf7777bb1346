"""Runs every rule on a graph; the rules are the files of `rules/`."""

from __future__ import annotations

from types import ModuleType

import onnx_ir as ir

from wrn_deploy.calib.lint.facts import GraphFacts
from wrn_deploy.calib.lint.finding import Finding, Severity, Target
from wrn_deploy.calib.lint.walk import codes_type
from wrn_deploy.plugins import load_plugin, plugin_names

__all__ = ["RULES", "guess_target", "lint_graph", "load_rules"]

RULES = "wrn_deploy.calib.lint.rules"


def load_rules() -> list[ModuleType]:
    """The rules, by their ids."""
    return sorted((load_plugin(RULES, name) for name in plugin_names(RULES)), key=lambda rule: str(rule.RULE.id))


def lint_graph(model: ir.Model, target: Target) -> list[Finding]:
    """Every place where `model` breaks a rule that is about `target`: errors first, then by rule and graph order."""
    facts = GraphFacts(model)
    rules = [rule for rule in load_rules() if target in rule.RULE.targets]
    findings = [Finding(rule.RULE, place) for rule in rules for place in rule.check(facts)]
    return sorted(findings, key=lambda finding: [*Severity].index(finding.rule.severity))


def guess_target(model: ir.Model) -> Target:
    """ONNX Runtime where a tensor is quantized to uint8, as its CPU kernels want it; else TensorRT."""
    unsigned = any(codes_type(node) is ir.DataType.UINT8 for node in GraphFacts(model).activation_quantizers)
    return Target.ONNXRUNTIME if unsigned else Target.TENSORRT
