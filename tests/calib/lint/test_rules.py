"""Every rule keeps the same contract, finds its defect at the right nodes, and nothing in a graph without it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import onnx_ir as ir
import pytest

from tests.calib.lint.defects import DEFECTS
from tests.calib.lint.edit import found
from wrn_deploy.calib.lint.facts import load_rules
from wrn_deploy.calib.lint.finding import Rule, Severity, Target

RULES = {rule.id: rule for rule in load_rules()}
DOC = Path(__file__).resolve().parents[3] / "docs" / "reference" / "lint.md"

for_each_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def target_of(graph: str) -> Target:
    return Target(graph.partition("_")[2])


@for_each_rule
def test_a_rule_is_complete(rule: Rule) -> None:
    assert re.fullmatch(r"QDQ[1-5]\d\d", rule.id)
    assert isinstance(rule.severity, Severity)
    assert rule.targets
    assert rule.title[0].islower() or rule.title.startswith(("Q/DQ", "DQ"))
    assert rule.cost.endswith(".")
    assert rule.fix.endswith(".")
    assert len((rule.check.__doc__ or "").splitlines()) > 1, "the source of a rule stands in the docstring of its check"


def test_no_id_is_given_twice() -> None:
    assert [rule.id for rule in load_rules()] == sorted(RULES)


def test_no_check_serves_two_rules() -> None:
    assert len({rule.check for rule in RULES.values()}) == len(RULES)


def test_every_rule_has_a_defect() -> None:
    assert sorted(DEFECTS) == sorted(RULES)


@for_each_rule
def test_the_defect_is_found_and_a_clean_graph_is_not_flagged(rule: Rule, request: pytest.FixtureRequest) -> None:
    defect = DEFECTS[rule.id]
    model: ir.Model = request.getfixturevalue(defect.graph).clone()
    defect.clean(model)
    assert rule.id not in found(model, target_of(defect.graph))
    defect.edit(model)
    places = found(model, target_of(defect.graph))[rule.id]
    assert sorted(places) == sorted(defect.nodes)


@for_each_rule
def test_a_rule_is_silent_for_other_targets(rule: Rule, request: pytest.FixtureRequest) -> None:
    defect = DEFECTS[rule.id]
    model: ir.Model = request.getfixturevalue(defect.graph).clone()
    defect.edit(model)
    for target in Target:
        assert target in rule.targets or rule.id not in found(model, target)


def table_row(rule: Rule) -> str:
    targets = " ".join(rule.targets) if len(rule.targets) < len(Target) else "both"
    return f"| {rule.id} | {rule.severity} | {targets} | {rule.title} | {rule.cost} | {rule.fix} |"


def test_the_document_has_every_rule_with_the_texts_of_the_code() -> None:
    rows = [line for line in DOC.read_text(encoding="utf-8").splitlines() if line.startswith("| QDQ")]
    assert rows == [table_row(rule) for rule in load_rules()]


def test_a_rule_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_rules()[0].id = "QDQ999"  # type: ignore[misc]
