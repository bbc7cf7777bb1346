"""The published figures: what they are, that each has a source, and that every network counts as published."""

from __future__ import annotations

import pytest

from wrn_deploy.models.published import PUBLISHED, Count, Quantity


def test_every_figure_names_its_source() -> None:
    for name, published in PUBLISHED.items():
        assert published.counts or published.accuracies, name
        for figure in (*published.counts, *published.accuracies):
            assert len(figure.source) > 10, name


def test_accuracies_are_percentages_and_the_best_five_hold_the_best_one() -> None:
    for name, published in PUBLISHED.items():
        for accuracy in published.accuracies:
            assert 50.0 < accuracy.top1 < 100.0, name
            assert accuracy.data in {"CIFAR-10", "CIFAR-100", "SVHN", "ImageNet"}
            if accuracy.top5 is not None:
                assert accuracy.top1 < accuracy.top5 < 100.0, name


def test_errors_became_accuracies() -> None:
    best = {(one.data, one.weights): one.top1 for one in PUBLISHED["wrn-28-10"].accuracies}
    assert best["CIFAR-10", "paper's recipe, mean/std normalisation"] == 96.0
    assert best["CIFAR-100", "paper's recipe, mean/std normalisation, dropout 0.3"] == 81.15


@pytest.mark.parametrize(("counted", "agrees"), [(36_479_194, True), (36_449_999, False), (36_550_001, False)])
def test_a_count_agrees_where_it_rounds_to_the_published_number(counted: int, agrees: bool) -> None:
    assert Count(Quantity.PARAMETERS, 36_500_000, 100_000, "the paper").agrees(counted) is agrees


def test_the_most_exact_count_is_found() -> None:
    found = PUBLISHED["wrn-50-2"].exact(Quantity.PARAMETERS)
    assert found is not None
    assert (found.value, found.unit) == (68_883_240, 1)
    assert PUBLISHED["nin"].exact(Quantity.MACS) is None
