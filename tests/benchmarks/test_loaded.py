"""The planted load: what counts as right under it, and that the program runs and stops its busy processes."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest

from benchmarks.overhead import loaded
from benchmarks.overhead.busy import ENDLESS, busy_cores
from tests.bench.sample_reports import FP32, INT8, make_report
from wrn_deploy.bench.report.environment import Environment, Snapshot
from wrn_deploy.bench.report.ratios import Ratio
from wrn_deploy.bench.report.report import Report
from wrn_deploy.bench.report.verdicts import Doubts, decide

QUIET = make_report(FP32, INT8)


@pytest.mark.parametrize(
    ("ratio", "taken", "factor"),
    [
        (0.1, 0.0, 1.0),
        (0.05, 0.0, 2.0),
        (0.2, 0.0, 2.0),
        (0.2, 0.2, 1.0),  # "at least 5x" of 10x
        (0.05, 0.2, 2.0),  # "at least 20x" of 10x
        (3.0, 0.2, 30.0),
        (0.001, 0.3, 1.0),  # "too noisy to conclude" claims nothing
    ],
)
def test_a_bound_is_wrong_only_if_it_claims_more(ratio: float, taken: float, factor: float) -> None:
    verdict = decide(Ratio(ratio, ratio, ratio), ratio, Doubts(taken=taken))
    assert loaded.factor_of(verdict, 0.1) == pytest.approx(factor)


def processes() -> int:
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return listed.count(ENDLESS.splitlines()[0])


def test_busy_processes_end_with_the_block() -> None:
    before = processes()

    def fail() -> None:
        with busy_cores(2):
            assert processes() == before + 2
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert processes() == before


@pytest.mark.parametrize(("slower", "code"), [(1.0, 0), (4.0, 3)])
def test_a_ratio_that_does_not_hold_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slower: float, code: int
) -> None:
    """The load slows the baseline alone; nothing is noticed of it."""
    slowed = dataclasses.replace(
        FP32,
        latencies=tuple(
            dataclasses.replace(one, rounds_ms=tuple(tuple(slower * time for time in turn) for turn in one.rounds_ms))
            for one in FP32.latencies
        ),
    )
    reports = iter([QUIET, make_report(slowed, INT8), QUIET])
    assert run(tmp_path, monkeypatch, reports) == code
    record = json.loads((tmp_path / "loaded.json").read_text())
    assert [row["quoted"] for row in record["table"]] == [2, 2]
    assert record["table"][0]["largest_factor"] == pytest.approx(slower)


def test_a_machine_that_is_not_quiet_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    around = Environment(before=Snapshot(), after=Snapshot(), taken={1: 0.3})
    assert run(tmp_path, monkeypatch, iter([dataclasses.replace(QUIET, environment=around)])) == 4


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, reports: object) -> int:
    def bench(*_: object) -> Report:
        return next(reports)  # type: ignore[call-overload, no-any-return]  # an iterator

    monkeypatch.setattr(loaded, "_bench", bench)
    argv = ["loaded", "bundle", "--runs", "2", "--busy", "0", "--out", str(folder / "loaded.json")]
    monkeypatch.setattr("sys.argv", argv)
    return loaded.main()
