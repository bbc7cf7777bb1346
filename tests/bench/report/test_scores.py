"""Shares with intervals, and the classes that lose most."""

from __future__ import annotations

import dataclasses

import pytest

from tests.bench.sample_reports import FP32, INT8, make_report
from wrn_deploy.bench.report.report import Row
from wrn_deploy.bench.report.scores import Accuracy, ClassScore, wilson
from wrn_deploy.rendering.drops import ClassDrop, worst_classes


@pytest.mark.parametrize(
    ("correct", "images", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_intervals_are_those_published(correct: int, images: int, low: float, high: float) -> None:
    """Table I, method 3, of R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872."""
    found = wilson(correct, images)
    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)


@pytest.mark.parametrize("images", [1, 2, 10, 50_000])
def test_intervals_hold_their_share_and_are_shares(images: int) -> None:
    for correct in {0, 1, images // 2, images}:
        found = wilson(correct, images)
        assert 0 <= found.low <= correct / images <= found.high <= 1
        mirrored = wilson(images - correct, images)
        assert 1 - mirrored.high == pytest.approx(found.low)
        assert 1 - mirrored.low == pytest.approx(found.high)


def test_top5_is_a_share_where_it_is_known() -> None:
    assert Accuracy(200, 150, None).top5 is None
    assert Accuracy(200, 150, None, correct5=190).top5 == 0.95
    assert Accuracy(200, 150, None).interval == wilson(150, 200)


def with_classes(row: Row, *scores: tuple[str, int, int]) -> Row:
    assert row.accuracy is not None
    classes = tuple(ClassScore(*score) for score in scores)
    return dataclasses.replace(row, accuracy=dataclasses.replace(row.accuracy, classes=classes))


def test_the_worst_classes_are_those_that_lose_the_largest_share() -> None:
    before = with_classes(FP32, ("cat", 10, 9), ("dog", 100, 90), ("hen", 10, 5), ("cow", 10, 8), ("none", 0, 0))
    after = with_classes(INT8, ("cat", 10, 7), ("dog", 100, 85), ("hen", 10, 6), ("cow", 10, 8), ("none", 0, 0))
    report = make_report(before, after)
    found = worst_classes(report, after, 5)
    assert found == (ClassDrop("cat", 10, 9, 7), ClassDrop("dog", 100, 90, 85))
    assert found[0].lost == pytest.approx(0.2)
    assert worst_classes(report, after, 1) == found[:1]
    assert worst_classes(report, before, 5) == ()
    assert worst_classes(dataclasses.replace(report, reference=None), after, 5) == ()
    assert worst_classes(make_report(FP32, after), after, 5) == ()
