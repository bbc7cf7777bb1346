"""Comparing two reports: which rows meet, and what the ratios and intervals are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.bench.sample_reports import FP32, INT8, SKIPPED, STEADY, make_report, measured
from wrn_deploy.bench.report.compare import compare_reports
from wrn_deploy.bench.report.environment import Environment, Snapshot
from wrn_deploy.bench.report.report import Latency, Row, WarmUp
from wrn_deploy.bench.report.scores import Accuracy, top1_change
from wrn_deploy.bench.report.verdicts import Conclusion
from wrn_deploy.spec import Precision

A = make_report(FP32, INT8, SKIPPED)


def timed_by_rounds(title: str, medians: list[float]) -> Row:
    return Row(
        backend=title.lower(),
        title=title,
        precision=Precision.FP32,
        latencies=(Latency(1, tuple((m,) for m in medians), STEADY),),
    )


def noisy(factor: float, seed: int, rounds: int = 30) -> list[float]:
    random = np.random.default_rng(seed)
    return [factor * (1 + random.exponential(0.05)) for _ in range(rounds)]


def test_rows_meet_by_backend_precision_and_batch() -> None:
    slower = measured("ONNX Runtime", Precision.INT8, 1.8, 351)
    found = compare_reports(A, make_report(slower, FP32))
    found_rows = [(timed.name, timed.batch, timed.verdict.words) for timed in found.timed]
    assert found_rows == [
        ("ONNX Runtime int8", 1, "1.50x the time"),
        ("ONNX Runtime int8", 8, "1.50x the time"),
        ("PyTorch fp32", 1, "no difference shown"),
        ("PyTorch fp32", 8, "no difference shown"),
    ]
    verdict = found.timed[0].verdict
    assert (verdict.ratio, verdict.low, verdict.high) == pytest.approx((1.5, 1.5, 1.5))
    assert (found.timed[0].before_ms, found.timed[0].after_ms) == (1.2, 1.8)


def test_what_one_report_alone_measured_is_named() -> None:
    new = measured("OpenVINO", Precision.FP32, 2.0, 354)
    one_batch = dataclasses.replace(FP32, latencies=FP32.latencies[:1])
    found = compare_reports(A, make_report(one_batch, new, dataclasses.replace(SKIPPED, skipped="other")))
    assert found.only_before == (
        "PyTorch fp32 at batch 8",
        *("ONNX Runtime int8 at batch 1", "ONNX Runtime int8 at batch 8", "ONNX Runtime int8's predictions"),
    )
    assert found.only_after == ("OpenVINO fp32 at batch 1", "OpenVINO fp32 at batch 8", "OpenVINO fp32's predictions")


def test_a_tenth_is_found_in_noise_and_nothing_is_not() -> None:
    before = make_report(timed_by_rounds("X", noisy(1.0, 1)))
    slower, same = (make_report(timed_by_rounds("X", noisy(factor, 2))) for factor in (1.1, 1.0))
    assert compare_reports(before, slower).timed[0].verdict.slower
    assert compare_reports(slower, before).timed[0].verdict.faster
    assert compare_reports(before, same).timed[0].verdict.conclusion is Conclusion.NO_DIFFERENCE


def test_too_few_rounds_give_times_without_a_ratio() -> None:
    before, after = (make_report(timed_by_rounds("X", [1.0] * rounds)) for rounds in (5, 30))
    timed = compare_reports(before, after).timed[0]
    assert (timed.verdict.ratio, timed.verdict.conclusion) == (None, Conclusion.TOO_FEW_ROUNDS)


def test_times_without_a_sample_are_no_times() -> None:
    before, after = make_report(timed_by_rounds("X", [1.0] * 8)), make_report(timed_by_rounds("X", []))
    found = compare_reports(before, after)
    assert (found.timed, found.only_before) == ((), ("X fp32 at batch 1",))


def test_a_reference_takes_out_what_slowed_a_whole_run() -> None:
    """The second run's machine was half as fast from the fifth round on, for both rows alike."""
    load = np.where(np.arange(30) < 5, 1.0, 2.0)
    rows = {factor: timed_by_rounds("X", (factor * load).tolist()) for factor in (1.0, 1.1)}
    unit = timed_by_rounds("Unit", (3.0 * load).tolist())
    before = make_report(timed_by_rounds("X", [1.0] * 30), timed_by_rounds("Unit", [3.0] * 30))
    same, slower = (make_report(rows[factor], unit) for factor in (1.0, 1.1))
    timed, _ = compare_reports(before, same).timed
    assert timed.verdict.conclusion is Conclusion.TOO_NOISY, "the fastest runs were as fast as before"
    key = ("unit", Precision.FP32)
    (timed,) = compare_reports(before, same, key).timed
    assert timed.verdict.conclusion is Conclusion.NO_DIFFERENCE
    (timed,) = compare_reports(before, slower, key).timed
    assert timed.verdict.low == pytest.approx(1.1)


def test_a_row_that_the_reference_was_not_timed_with_is_not_judged() -> None:
    unit = timed_by_rounds("Unit", [3.0] * 30)
    (first, second) = compare_reports(make_report(FP32, unit), make_report(FP32, unit), ("unit", Precision.FP32)).timed
    assert first.verdict.conclusion is Conclusion.NO_DIFFERENCE
    assert second.verdict.conclusion is Conclusion.TOO_FEW_ROUNDS, "the unit has no times at batch 8"


def test_what_disturbed_either_run_leaves_a_bound_or_nothing() -> None:
    slower = measured("ONNX Runtime", Precision.INT8, 1.8, 351)
    restless = dataclasses.replace(
        slower,
        latencies=tuple(dataclasses.replace(one, warm_up=WarmUp(9, 9, steady=False)) for one in slower.latencies),
    )
    at_1 = next(one for one in compare_reports(A, make_report(FP32, restless)).timed if "int8" in one.name)
    assert (at_1.verdict.words, at_1.verdict.ratio) == ("at least 1.50x the time", None)
    assert at_1.verdict.because == "the times of ONNX Runtime int8 in B had not settled after warming up"
    busy = dataclasses.replace(A, environment=Environment(before=Snapshot(), after=Snapshot(), taken={1: 0.5, 8: 0.0}))
    for pair in ((busy, make_report(FP32, slower)), (A, dataclasses.replace(busy, rows=(FP32, slower)))):
        words = {(one.name, one.batch): one.verdict.words for one in compare_reports(*pair).timed}
        assert words["ONNX Runtime int8", 1] == words["PyTorch fp32", 1] == "too noisy to conclude"
        assert words["ONNX Runtime int8", 8] == "1.50x the time", "only batch 1 was disturbed"


def test_answers_are_compared_as_counts_on_the_same_images() -> None:
    worse = dataclasses.replace(INT8, accuracy=Accuracy(images=360, correct=300, agreement=0.9))
    first, second = compare_reports(A, make_report(FP32, worse)).scored
    assert (first.name, first.lost, first.shown) == ("PyTorch fp32", 0, False)
    assert (second.lost, second.shown) == (51, True)
    assert second.change.low < -51 / 360 < second.change.high < 0


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"data_digest": "fedcba9876543210"}, "the images are not the same (0123456789ab, fedcba987654)"),
        ({"random_weights": True}, "the weights are random"),
    ],
)
def test_answers_to_other_questions_are_not_compared(changed: dict[str, object], reason: str) -> None:
    found = compare_reports(A, dataclasses.replace(A, **changed))  # type: ignore[arg-type]  # fields by name
    assert (found.scored, found.answers) == ((), reason)
    assert len(found.timed) == 4


def test_the_interval_of_a_change_is_newcombes() -> None:
    """56 of 70 and 48 of 80: the first example of Newcombe's paper, whose method 10 gives 0.0524 to 0.3339."""
    found = top1_change(
        Accuracy(images=80, correct=48, agreement=None), Accuracy(images=70, correct=56, agreement=None)
    )
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
