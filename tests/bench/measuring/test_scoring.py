"""Grades: what is counted of answers, and which changed images are kept."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.bench.measuring.test_accuracy import SPEC
from wrn_deploy.bench.measuring.accuracy import Answers
from wrn_deploy.bench.measuring.logits import LogitErrors
from wrn_deploy.bench.measuring.scoring import Change, classes_of, find_changes, score
from wrn_deploy.bench.report.scores import ClassScore

LABELLED = dataclasses.replace(SPEC, labels=("ant", "bee", "cat", "dog", "eel"))


def answers(predicted: list[int], labels: list[int]) -> Answers:
    return Answers(np.array(predicted), np.array(labels), "", ())


def test_classes_without_images_are_left_out() -> None:
    given = answers([0, 1, 1, 4, 0], [0, 0, 1, 4, 4])
    assert classes_of(given, LABELLED) == (ClassScore("ant", 2, 1), ClassScore("bee", 1, 1), ClassScore("eel", 2, 1))
    assert classes_of(given, SPEC)[0].label == "0"
    assert score(given, None).classes == ()
    assert score(given, None, LABELLED).classes == classes_of(given, LABELLED)


def test_changed_images_have_their_place_and_classes() -> None:
    reference, given = answers([0, 1, 2, 3], [0, 0, 2, 2]), answers([0, 2, 2, 2], [0, 0, 2, 2])
    assert find_changes(given, reference) == (Change(1, 0, 1, 2), Change(3, 2, 3, 2))
    assert find_changes(reference, reference) == ()
    assert score(given, reference).changed_count == 2
    assert score(given, None).changed_count == 0


@pytest.mark.parametrize("changed", [1, 11, 12, 13, 50, 100])
def test_of_many_changed_images_some_are_kept_from_all_over_the_data(changed: int) -> None:
    labels = [0] * 100
    given, reference = answers([1] * changed + [0] * (100 - changed), labels), answers(labels, labels)
    kept = [change.index for change in find_changes(given, reference)]
    assert len(kept) == len(set(kept)) == min(12, changed)
    assert kept == sorted(kept)
    assert kept[0] == 0
    assert kept[-1] >= changed * 11 // 12


def test_errors_are_told_of_all_but_the_reference_itself() -> None:
    reference = answers([0], [0])
    given = dataclasses.replace(reference, errors=LogitErrors(0.5, 0.25))
    assert (score(given, reference).max_error, score(given, reference).mean_error) == (0.5, 0.25)
    assert (score(given, given).max_error, score(given, given).mean_error) == (None, None)


def test_top5_is_the_number_of_images() -> None:
    given = dataclasses.replace(answers([0, 0, 0], [0, 1, 2]), in_top5=np.array([True, True, False]))
    assert score(given, None).correct5 == 2
    assert score(given, None).top5 == pytest.approx(2 / 3)
