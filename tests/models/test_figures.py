"""Counts and accuracies in words: as exact as published, and no more."""

from __future__ import annotations

import pytest

from wrn_deploy.models.published import (
    Count,
    Published,
    PublishedAccuracy,
    Quantity,
    macs_text,
    percent_text,
    read_published,
)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (68_883_240, 1, "68,883,240"),
        (68_880_000, 10_000, "68.88 M"),
        (68_900_000, 100_000, "68.9 M"),
        (600_000, 100_000, "0.6 M"),
        (11_440_000_000, 10_000_000, "11.44 G"),
        (4_100_000_000, 100_000_000, "4.1 G"),
    ],
)
def test_a_count_has_the_digits_that_were_published(value: int, unit: int, text: str) -> None:
    assert Count(Quantity.PARAMETERS, value, unit, "somewhere").text == text


def test_macs_are_in_millions_or_billions() -> None:
    assert [macs_text(macs) for macs in (101_106_944, 999_949_999, 11_398_021_120)] == ["101.1 M", "999.9 M", "11.40 G"]


def test_per_cent_have_a_third_decimal_where_it_says_something() -> None:
    assert [percent_text(value) for value in (96.0, 96.11, 78.468, 100.0)] == [
        "96.00 %",
        "96.11 %",
        "78.468 %",
        "100.00 %",
    ]


def test_the_best_accuracy_is_that_of_one_data_set() -> None:
    best = read_published()["wrn-28-10"].best("CIFAR-10")
    assert best is not None
    assert (best.top1, best.weights) == (96.11, "paper's recipe, mean/std normalisation, dropout 0.3")
    only = Published(accuracies=(PublishedAccuracy("SVHN", 98.0, None, "paper's", "somewhere"),))
    assert only.best("CIFAR-10") is None
