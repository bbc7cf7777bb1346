"""The table of networks: each listed network went the whole way, and the script goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.steps import networks
from benchmarks.steps.networks_table import print_networks
from wrn_deploy.models import listed_models
from wrn_deploy.models.published import Quantity, read_published

ROOT = Path(__file__).resolve().parents[2]

Rows = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def rows() -> Rows:
    file = ROOT / "benchmarks" / "results" / "networks-2core-epyc.json"
    return {row["network"]: row for row in json.loads(file.read_text(encoding="utf-8"))["networks"]}


def test_every_listed_network_is_in_the_results(rows: Rows) -> None:
    assert set(rows) == set(listed_models())
    assert not [name for name, row in rows.items() if "error" in row]


def test_the_counts_agree_with_what_is_published(rows: Rows) -> None:
    for name, row in rows.items():
        for count in read_published()[name].counts if name in read_published() else ():
            if count.quantity in (Quantity.PARAMETERS, Quantity.MACS):
                assert count.agrees(row[count.quantity]), name


def test_every_graph_and_plan_is_as_exact_as_it_promises(rows: Rows) -> None:
    for name, row in rows.items():
        assert row["parity"]["fp32"]["cosine"] > 0.99999, name
        assert row["parity"]["fp16"]["cosine"] > 0.999, name
        assert row["int8"]["onnx-int8-tensorrt"]["float_convs"] == 0, name
        for precision, plan in row["plans"].items():
            assert (plan["higher_precision"], plan["unknown"]) == ([], []), (name, precision)
            assert plan["share"] > 0.999, (name, precision)


def test_only_whole_rows_of_the_same_versions_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "networks.json"
    assert networks._done(file) == {}
    whole, failed = {"network": "nin"}, {"network": "vgg", "error": "out of memory"}
    networks._write(file, [whole, failed])
    assert networks._done(file) == {"nin": whole}
    record = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**record, "versions": {"wrn-deploy": "0"}}), encoding="utf-8")
    assert networks._done(file) == {}


def test_a_network_that_fails_is_a_row_with_the_reason() -> None:
    assert "unknown model 'wrn-0'" in networks._measured("wrn-0")["error"]


def test_the_table_has_a_row_for_each_network(rows: Rows, capsys: pytest.CaptureFixture[str]) -> None:
    print_networks([*rows.values(), {"network": "odd", "error": "no such network"}])
    text = capsys.readouterr().out
    assert "68,883,240" in text
    assert "11.40" in text
    assert all(name in text for name in (*rows, "odd"))
