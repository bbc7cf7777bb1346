"""Counts a candidate's answers: top-1, top-5, classes, and agreement with the reference; no pixels are read here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wrn_deploy.bench.measuring.accuracy import Answers
from wrn_deploy.bench.report.scores import KEPT_CHANGES, Accuracy, ChangedImage, ClassScore
from wrn_deploy.spec import ModelSpec

__all__ = ["Change", "classes_of", "find_changes", "score"]


@dataclass(frozen=True, slots=True)
class Change:
    """An image, by its place among those that were asked for, with the label and the two top classes as indices."""

    index: int
    label: int
    before: int
    after: int


def find_changes(answers: Answers, reference: Answers, most: int = KEPT_CHANGES) -> tuple[Change, ...]:
    """Up to `most` images whose top class is not the reference's, at even distances among all that are so."""
    _check_same(answers, reference)
    changed = np.flatnonzero(answers.predicted != reference.predicted)
    count = min(most, len(changed))
    kept = changed[[index * len(changed) // count for index in range(count)]]
    return tuple(
        Change(int(at), int(answers.labels[at]), int(reference.predicted[at]), int(answers.predicted[at]))
        for at in kept
    )


def score(
    answers: Answers, reference: Answers | None, spec: ModelSpec | None = None, changed: tuple[ChangedImage, ...] = ()
) -> Accuracy:
    """Everything that is told of the answers.

    Args:
        answers: the candidate's.
        reference: those it is compared with; None: there are none.
        spec: names the classes; None: they are not told one by one.
        changed: some of the images whose top class is not the reference's.
    """
    if reference is not None:
        _check_same(answers, reference)
    same = None if reference is None else answers.predicted == reference.predicted
    compared = answers.errors if reference is not answers else None
    return Accuracy(
        images=len(answers.labels),
        correct=int((answers.predicted == answers.labels).sum()),
        agreement=None if same is None else float(same.mean()),
        correct5=None if answers.in_top5 is None else int(answers.in_top5.sum()),
        max_error=compared.largest if compared else None,
        mean_error=compared.mean if compared else None,
        classes=() if spec is None else classes_of(answers, spec),
        changed=changed,
        changed_count=0 if same is None else int((~same).sum()),
    )


def classes_of(answers: Answers, spec: ModelSpec) -> tuple[ClassScore, ...]:
    """The classes that have images, in the network's order."""
    images = np.bincount(answers.labels, minlength=spec.classes)
    correct = np.bincount(answers.labels[answers.predicted == answers.labels], minlength=spec.classes)
    indices = [int(index) for index in np.flatnonzero(images)]
    return tuple(ClassScore(spec.label(index), int(images[index]), int(correct[index])) for index in indices)


def _check_same(answers: Answers, reference: Answers) -> None:
    assert np.array_equal(answers.labels, reference.labels), "the candidates saw different images"
