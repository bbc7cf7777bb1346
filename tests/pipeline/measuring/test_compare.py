"""Comparing report files: what is refused, and the gate."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.bench.sample_reports import FP32, INT8, make_report, measured
from wrn_deploy.bench.report.compare import Comparison, compare_reports
from wrn_deploy.bench.report.environment import Environment, Snapshot
from wrn_deploy.bench.report.report import Report, Row
from wrn_deploy.bench.report.scores import Accuracy
from wrn_deploy.errors import DeployError, GateError
from wrn_deploy.pipeline.measuring.compare import RegressionLimits, check_comparison, check_conclusive, compare_files
from wrn_deploy.rendering.comparability import SEPARATE
from wrn_deploy.spec import Precision

A = make_report(FP32, INT8)
SLOWER = make_report(FP32, measured("ONNX Runtime", Precision.INT8, 1.2 * 1.06, 351))


def written(folder: Path, before: Report, after: Report) -> tuple[Path, Path]:
    files = folder / "a.json", folder / "b.json"
    for file, report in zip(files, (before, after), strict=True):
        file.write_text(report.to_json(), encoding="utf-8")
    return files


def spread(row: Row, factor: float, width: float) -> Comparison:
    """A row against itself, `factor` slower in the middle of rounds that lie up to `width` apart from it."""
    rounds = [[factor + side * width] for side in (-1, 0, 1, -1, 0, 1, 0)]
    before, after = (
        dataclasses.replace(row, latencies=(dataclasses.replace(row.latencies[0], rounds_ms=tuple(map(tuple, turns))),))
        for turns in ([[turn[0] - factor + 1.0] for turn in rounds], rounds)
    )
    return compare_reports(make_report(before), make_report(after))


def test_files_are_compared_with_notes(tmp_path: Path) -> None:
    found, notes = compare_files(*written(tmp_path, A, dataclasses.replace(SLOWER, versions={"numpy": "3"})))
    assert found == compare_reports(A, SLOWER)
    assert notes == ("Also different: numpy 2.4.6 and 3.", SEPARATE)


def test_reports_that_may_not_be_compared_are_refused_with_every_reason(tmp_path: Path) -> None:
    other = dataclasses.replace(A, model="wrn-28-10", settings=dataclasses.replace(A.settings, threads=1))
    with pytest.raises(DeployError, match=r"other model: wrn-16-4 and wrn-28-10; other threads: 2 and 1\): expected"):
        compare_files(*written(tmp_path, A, other))


def test_reports_with_nothing_in_common_are_refused(tmp_path: Path) -> None:
    other = make_report(measured("OpenVINO", Precision.FP32, 1.0, 350))
    with pytest.raises(DeployError, match="no candidate and batch size in common"):
        compare_files(*written(tmp_path, A, other))


def test_a_regression_that_is_shown_fails_and_one_within_the_limit_passes() -> None:
    found = compare_reports(A, SLOWER)
    check_comparison(found, RegressionLimits())
    check_comparison(found, RegressionLimits(regress=6.5, drop=0.0))
    with pytest.raises(GateError) as error:
        check_comparison(found, RegressionLimits(regress=5.0))
    text = "ONNX Runtime int8 at batch 1 takes more than 5 % longer (1.2 to 1.272 ms; ratio 1.060, 1.060 to 1.060)"
    assert str(error.value).startswith(text)
    assert "batch 8" in str(error.value)
    assert "PyTorch" not in str(error.value)
    check_comparison(compare_reports(SLOWER, A), RegressionLimits(regress=0.0))


def test_what_is_not_shown_fails_only_where_it_is_asked_for() -> None:
    found = spread(FP32, 1.1, width=0.15)
    check_comparison(found, RegressionLimits(regress=5.0))
    with pytest.raises(GateError, match="PyTorch fp32 at batch 1 takes more than 5 % longer"):
        check_comparison(found, RegressionLimits(regress=5.0, strict=True))


def test_times_that_are_too_noisy_are_not_judged() -> None:
    found = spread(FP32, 1.2, width=0.5)
    check_comparison(found, RegressionLimits())
    with pytest.raises(
        DeployError, match=r"nothing to check .*at batch 1: too noisy to conclude, since the times vary"
    ) as error:
        check_comparison(found, RegressionLimits(regress=5.0))
    assert error.value.exit_code == 1
    with pytest.raises(
        GateError, match="PyTorch fp32 at batch 1: too noisy to conclude, since the times vary too much"
    ):
        check_comparison(found, RegressionLimits(strict=True))


@pytest.mark.parametrize("taken", [0.2, 0.3])
def test_a_strict_benchmark_needs_ratios_that_hold(taken: float) -> None:
    check_conclusive(A)
    check_conclusive(dataclasses.replace(A, rows=(dataclasses.replace(FP32, latencies=()),)))
    around = Environment(before=Snapshot(), after=Snapshot(), taken={8: taken})
    with pytest.raises(
        GateError, match=f"at batch 8, since other programs used {100 * taken:.0f} % of the CPU time"
    ) as error:
        check_conclusive(dataclasses.replace(A, environment=around))
    assert "batch 1" not in str(error.value)
    with pytest.raises(GateError, match="Other programs used"):
        check_conclusive(dataclasses.replace(make_report(FP32), environment=around))


def test_a_missing_row_fails_only_where_it_is_asked_for() -> None:
    found = compare_reports(A, make_report(FP32, dataclasses.replace(INT8, skipped="killed", latencies=())))
    check_comparison(found, RegressionLimits(regress=5.0))
    with pytest.raises(GateError, match="ONNX Runtime int8 at batch 1 is no longer measured"):
        check_comparison(found, RegressionLimits(regress=5.0, strict=True))


def test_right_answers_are_counted_exactly() -> None:
    fewer = dataclasses.replace(INT8, accuracy=Accuracy(images=360, correct=351 - 9, agreement=0.9))
    found = compare_reports(A, make_report(FP32, fewer))
    check_comparison(found, RegressionLimits(drop=2.5))
    with pytest.raises(GateError, match=r"2\.50 points of top-1 lost \(351 to 342 of 360 images, at most 2\.4 points"):
        check_comparison(found, RegressionLimits(drop=2.4))


def test_lost_answers_are_told_though_the_times_are_too_noisy() -> None:
    found = spread(FP32, 1.2, width=0.5)
    fewer = dataclasses.replace(found.scored[0], after=found.scored[0].after - 9)
    with pytest.raises(GateError, match=r"2\.50 points of top-1 lost"):
        check_comparison(dataclasses.replace(found, scored=(fewer,)), RegressionLimits(regress=5.0, drop=1.0))


def test_a_gate_with_nothing_to_judge_is_an_error() -> None:
    few = dataclasses.replace(FP32, latencies=(dataclasses.replace(FP32.latencies[0], rounds_ms=((1.0,),) * 5),))
    with pytest.raises(DeployError, match="--max-regress has nothing to check") as error:
        check_comparison(compare_reports(make_report(few), make_report(few)), RegressionLimits(regress=5.0))
    assert error.value.exit_code == 1
    other = dataclasses.replace(A, data_digest="f" * 64)
    with pytest.raises(DeployError, match="--max-drop has no predictions to compare"):
        check_comparison(compare_reports(A, other), RegressionLimits(drop=1.0))
