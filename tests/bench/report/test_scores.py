"""Fractions with intervals."""

from __future__ import annotations

import pytest

from wrn_deploy.bench.report.scores import Accuracy, wilson


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
    assert Accuracy(images=200, correct=150, agreement=None).top5 is None
    assert Accuracy(images=200, correct=150, agreement=None, correct5=190).top5 == 0.95
    assert Accuracy(images=200, correct=150, agreement=None).interval == wilson(150, 200)
