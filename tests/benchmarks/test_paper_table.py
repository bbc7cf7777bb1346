"""The paper's table, measured on two small networks: exported, timed in turns, set beside the given times."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.steps import paper_table
from wrn_deploy.models import describe_model


def test_a_larger_network_takes_longer_and_both_stand_beside_the_papers_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paper_table, "PAPER_MS", {"wrn-10-1": 20, "wrn-16-4": 50})
    monkeypatch.setattr(paper_table, "BASELINE", "wrn-10-1")
    monkeypatch.setattr(paper_table, "SIDE", 32)
    out = tmp_path / "table.json"
    sizes = ["--batch", "2", "--rounds", "6", "--iterations", "5", "--threads", "1"]
    monkeypatch.setattr("sys.argv", ["paper_table.py", "--bundles", str(tmp_path / "all"), *sizes, "--out", str(out)])
    paper_table.main()
    smaller, larger = json.loads(out.read_text())["networks"]
    assert smaller["ratio"] is None
    assert 1.5 < larger["ratio"]["low"] <= larger["ratio"]["value"]
    assert [len(turn) for turn in larger["latency"]["rounds_ms"]] == [5] * 6
    assert larger["parameters"] == 2_748_890
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "wrn-16-4" in line]
    assert line.split()[-2:] == ["50", "2.50"]


def test_the_networks_are_those_of_the_papers_table_by_names_that_are_known() -> None:
    assert [describe_model(name).depth for name in paper_table.PAPER_MS] == [50, 101, 152, 50, 200]
    assert list(paper_table.PAPER_MS.values()) == [49, 82, 115, 93, 154]
