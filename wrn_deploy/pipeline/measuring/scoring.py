"""Scores every candidate's answers: accuracy beside the reference's, and the images whose class changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wrn_deploy.bench.measuring.changes import look_up, to_images
from wrn_deploy.bench.measuring.scoring import find_changes, score
from wrn_deploy.bench.report.report import Accuracy
from wrn_deploy.data import ImageSource
from wrn_deploy.pipeline.measuring.rounds import RowBuilder
from wrn_deploy.spec import ModelSpec

__all__ = ["score_all"]


def score_all(
    entries: Sequence[RowBuilder],
    reference: RowBuilder | None,
    source: ImageSource,
    spec: ModelSpec,
    *,
    pictures: bool = True,
) -> Mapping[str, Accuracy]:
    """The accuracy of every candidate that answered, by its row's name.

    Reads the data once more for the pictures of changed images; without `pictures` only their names are kept.
    """
    answered = {entry.name: entry.answers for entry in entries if entry.answers is not None and not entry.skipped}
    compared = reference.answers if reference else None
    if compared is None:
        return {name: score(answers, None, spec) for name, answers in answered.items()}
    changes = {name: find_changes(answers, compared) for name, answers in answered.items()}
    wanted = {change.index for found in changes.values() for change in found}
    shown = look_up(source, spec.preprocessing, compared, wanted, pictures=pictures)
    return {
        name: score(answers, compared, spec, to_images(changes[name], shown, spec))
        for name, answers in answered.items()
    }
