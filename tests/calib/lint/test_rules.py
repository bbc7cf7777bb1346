"""Every rule keeps the same contract, finds its defect at the right nodes, and nothing in a graph without it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import onnx_ir as ir
import pytest

from tests.calib.lint.defects import DEFECTS
from tests.calib.lint.edit import found
from wrn_deploy.calib.lint.check import RULES, load_rules
from wrn_deploy.calib.lint.finding import Rule, Severity, Target
from wrn_deploy.plugins import load_plugin, plugin_names

NAMES = plugin_names(RULES)
DOC = Path(__file__).resolve().parents[3] / "docs" / "lint.md"


def target_of(graph: str) -> Target:
    return Target(graph.partition("_")[2])


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_says_what_it_is_about(name: str) -> None:
    module = load_plugin(RULES, name)
    rule = module.RULE
    assert isinstance(rule, Rule)
    assert re.fullmatch(r"QDQ[1-5]\d\d", rule.id)
    assert isinstance(rule.severity, Severity)
    assert rule.targets
    assert rule.title[0].islower() or rule.title.startswith(("Q/DQ", "DQ"))
    assert rule.cost.endswith(".")
    assert rule.mend.endswith(".")
    assert len((module.__doc__ or "").splitlines()) > 1, "the source of a rule stands in its docstring"


def test_no_id_is_given_twice() -> None:
    ids = [rule.RULE.id for rule in load_rules()]
    assert ids == sorted(set(ids))
    assert len(ids) == len(NAMES)


def test_every_rule_has_a_defect() -> None:
    assert sorted(DEFECTS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_defect_is_found_and_a_clean_graph_is_not_flagged(name: str, request: pytest.FixtureRequest) -> None:
    defect, rule = DEFECTS[name], load_plugin(RULES, name).RULE
    model: ir.Model = request.getfixturevalue(defect.graph).clone()
    defect.clean(model)
    assert rule.id not in found(model, target_of(defect.graph))
    defect.edit(model)
    places = found(model, target_of(defect.graph))[rule.id]
    assert sorted(places) == sorted(defect.nodes)


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_is_silent_for_targets_that_it_is_not_about(name: str, request: pytest.FixtureRequest) -> None:
    defect, rule = DEFECTS[name], load_plugin(RULES, name).RULE
    model: ir.Model = request.getfixturevalue(defect.graph).clone()
    defect.edit(model)
    for target in Target:
        assert target in rule.targets or rule.id not in found(model, target)


def table_row(rule: Rule) -> str:
    targets = " ".join(rule.targets) if len(rule.targets) < len(Target) else "both"
    return f"| {rule.id} | {rule.severity} | {targets} | {rule.title} | {rule.cost} | {rule.mend} |"


def test_the_document_has_every_rule_as_the_code_says_it() -> None:
    rows = [line for line in DOC.read_text(encoding="utf-8").splitlines() if line.startswith("| QDQ")]
    assert rows == [table_row(module.RULE) for module in load_rules()]


def test_a_finding_cannot_be_changed(trained_tensorrt: ir.Model) -> None:
    del trained_tensorrt
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_rules()[0].RULE.id = "QDQ999"
