"""The accuracy gate: it passes up to what was allowed, exactly, and never where nothing can be compared."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.bench.sample_reports import make_report
from wrn_deploy.bench.report.report import Accuracy, Report, Row
from wrn_deploy.bench.report.scores import ClassScore
from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import GateError
from wrn_deploy.pipeline.measuring.compare import check_drop
from wrn_deploy.pipeline.measuring.measure import MeasureOptions, evaluate_bundle
from wrn_deploy.progress import Silent
from wrn_deploy.rendering.remarks import warnings
from wrn_deploy.spec import Precision

FP32, FP16, INT8 = Precision.FP32, Precision.FP16, Precision.INT8


def report_with(*rows: tuple[str, Precision, int | None], images: int = 1000) -> Report:
    """Rows of title, precision and right answers; PyTorch's fp32 is the reference."""
    return make_report(
        *(
            Row(
                backend=title.lower(),
                title=title,
                precision=precision,
                accuracy=None if correct is None else Accuracy(images=images, correct=correct, agreement=1.0),
            )
            for title, precision, correct in rows
        )
    )


def test_the_gate_passes_up_to_the_allowed_drop() -> None:
    report = report_with(("PyTorch", FP32, 940), ("ORT", INT8, 935), ("TensorRT", FP16, 950))
    check_drop(report, 0.5)
    check_drop(report, 3.0)


@pytest.mark.parametrize("allowed", [0.1, 0.3, 0.7, 1.1])
@pytest.mark.parametrize("correct", [9390, 9300, 8226, 7001])
def test_the_gate_counts_images_at_its_very_limit(correct: int, allowed: float) -> None:
    """0.939 - 0.938 is a little more than 0.001 in floating point."""
    lost = round(100 * allowed)
    check_drop(report_with(("PyTorch", FP32, correct), ("ORT", INT8, correct - lost), images=10_000), allowed)
    with pytest.raises(GateError, match=rf"ORT int8: {allowed + 0.01:.2f} points of top-1 lost"):
        check_drop(report_with(("PyTorch", FP32, correct), ("ORT", INT8, correct - lost - 1), images=10_000), allowed)


@pytest.mark.parametrize(("correct", "allowed", "lost"), [(934, 0.5, "0.60"), (939, 0.0, "0.10"), (0, 50.0, "94.00")])
def test_the_gate_names_the_row_that_loses_too_much(correct: int, allowed: float, lost: str) -> None:
    report = report_with(("PyTorch", FP32, 940), ("TensorRT", FP16, 940), ("ORT", INT8, correct))
    text = rf"ORT int8: {lost} points of top-1 lost against PyTorch fp32 \({correct} instead of 940 of 1000 images\)"
    with pytest.raises(GateError, match=text) as error:
        check_drop(report, allowed)
    assert error.value.exit_code == 3


def test_a_single_image_of_many_is_not_0_points() -> None:
    report = report_with(("PyTorch", FP32, 40_000), ("ORT", INT8, 39_999), images=50_000)
    with pytest.raises(
        GateError, match=r"less than 0\.01 points of top-1 lost .*\(39999 instead of 40000 of 50000 images"
    ):
        check_drop(report, 0.0)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [("PyTorch", FP32, 940)],
        [("PyTorch", FP32, 940), ("ORT", FP32, 940)],
        [("PyTorch", FP32, 940), ("ORT", INT8, None)],
        [("PyTorch", FP32, None), ("ORT", INT8, 940)],
    ],
)
def test_the_gate_fails_without_anything_to_compare(rows: list[tuple[str, Precision, int | None]]) -> None:
    with pytest.raises(GateError, match="expected fp32 and a row of lower precision"):
        check_drop(report_with(*rows), 99.0)


@pytest.mark.parametrize(("correct", "passes"), [(0, False), (100, False), (110, False), (130, True)])
def test_the_gate_fails_if_fp32_is_no_better_than_guessing(correct: int, passes: bool) -> None:
    """Labels in another order or wrong preprocessing: int8 would lose nothing against it."""
    ten = tuple(ClassScore(str(label), 100, correct // 10) for label in range(10))
    accuracy = Accuracy(images=1000, correct=correct, agreement=1.0, classes=ten)
    rows = [Row(backend=f"b{kind}", title="B", precision=kind, accuracy=accuracy) for kind in (FP32, INT8)]
    report = dataclasses.replace(make_report(*rows), reference=rows[0].name)
    assert any("better than guessing" in remark.text for remark in warnings(report)) is not passes
    if passes:
        check_drop(report, 0.0)
    else:
        text = f"B fp32 is correct on {correct} of 1000 images, not shown to be better than guessing one of 10 classes"
        with pytest.raises(GateError, match=text):
            check_drop(report, 99.0)


def test_the_gate_passes_on_the_real_bundle(made_bundle: Path) -> None:
    options = MeasureOptions(data="digits", threads=1, backends=("onnxruntime",))
    check_drop(evaluate_bundle(Bundle.open(made_bundle), options, Silent()), 1.5)
