"""The page on scale has the tables that its program makes; the simulation and the driver's benchmark run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.scale.model import core_rates, make_tables
from benchmarks.scale.simulate import Case, simulate

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "scale.md"


@pytest.mark.parametrize("name", ["rates", "sizes", "times", "limits", "simulated"])
def test_a_table_of_the_page_is_the_one_that_is_computed(name: str) -> None:
    found = re.search(
        rf"<!-- scale:{name} begin -->\n\n(.*?)\n\n<!-- scale:{name} end -->", PAGE.read_text(), re.DOTALL
    )
    assert found is not None
    assert found[1].splitlines() == make_tables()[name]


def test_a_core_that_does_both_is_slower_than_each() -> None:
    for precision in ("fp32", "int8"):
        rate = core_rates(precision)
        assert 0 < rate.both < min(rate.decode, rate.infer)


def test_a_simulation_is_the_same_each_time_and_near_the_ideal() -> None:
    found = [simulate(Case(workers=8), 200, 60.0, 1) for _ in range(2)]
    assert found[0]["simulated_s"] == found[1]["simulated_s"]
    assert found[0]["ideal_s"] <= found[0]["simulated_s"] < 1.1 * found[0]["ideal_s"]
    assert found[0]["attempts"] == 200


def test_lost_nodes_and_shards_that_hang_cost_time_and_lose_nothing() -> None:
    calm, lost, hanging = (
        simulate(case, 400, 60.0, 2)
        for case in (Case(workers=64), Case(workers=64, lost=0.25), Case(workers=64, hanging=5))
    )
    assert lost["nodes_lost"] == 2
    assert lost["attempts"] > 400
    assert hanging["attempts"] == 405
    assert calm["simulated_s"] < lost["simulated_s"]
    assert calm["simulated_s"] < hanging["simulated_s"]
