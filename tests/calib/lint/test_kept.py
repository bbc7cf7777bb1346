"""Graphs with some Convs in fp16 on purpose lint clean, whichever they are: the rules know what must be float then."""

from __future__ import annotations

import random

import onnx_ir as ir
import pytest

from tests.calib.graphs import plain_table
from wrn_deploy.calib.lint.facts import lint_graph
from wrn_deploy.calib.lint.finding import Severity, Target
from wrn_deploy.calib.writing.for_tensorrt import FLOAT_CONVS, quantize_for_tensorrt
from wrn_deploy.export.half import convert_fp16


def sets_of(names: list[str]) -> list[list[str]]:
    """One Conv, all but one, and some drawn at random."""
    draw = random.Random(0)
    drawn = [draw.sample(names, draw.randrange(2, len(names) - 1)) for _ in range(12)]
    return [[name] for name in names] + [[other for other in names if other != name] for name in names] + drawn


@pytest.mark.parametrize("graph", ["trained_graph", "bottleneck_graph"])
def test_kept_convs_are_notes(graph: str, request: pytest.FixtureRequest) -> None:
    fp32: ir.Model = request.getfixturevalue(graph)
    fp16, table = convert_fp16(fp32), plain_table(fp32.graph)
    names = [node.name or "" for node in fp32.graph if node.op_type == "Conv"]
    for kept in sets_of(names):
        findings = lint_graph(quantize_for_tensorrt(fp32, fp16, table, kept), Target.TENSORRT)
        severe = {finding.rule.id: finding.place for finding in findings if finding.rule.severity is not Severity.NOTE}
        assert severe == {}, kept
        assert {finding.place.node for finding in findings if finding.rule.id == "QDQ111"} == {*kept}


@pytest.mark.parametrize(
    ("graph", "rules"), [("trained_graph", {"QDQ110"}), ("bottleneck_graph", {"QDQ101", "QDQ104", "QDQ110"})]
)
def test_the_same_graphs_without_the_names_are_not_clean(
    graph: str, rules: set[str], request: pytest.FixtureRequest
) -> None:
    """What is passed over is passed over because of the names alone."""
    fp32: ir.Model = request.getfixturevalue(graph)
    fp16, table = convert_fp16(fp32), plain_table(fp32.graph)
    names = [node.name or "" for node in fp32.graph if node.op_type == "Conv"]
    found = set()
    for kept in sets_of(names):
        model = quantize_for_tensorrt(fp32, fp16, table, kept)
        del model.metadata_props[FLOAT_CONVS]
        found |= {finding.rule.id for finding in lint_graph(model, Target.TENSORRT)}
    assert rules <= found
