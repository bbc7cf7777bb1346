"""Scores answers: top-1, top-5, classes, agreement with the reference, and the images whose top class changed."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from wrn_deploy.bench.measuring.accuracy import Answers
from wrn_deploy.bench.report.scores import KEPT_CHANGES, Accuracy, ChangedImage, ClassScore
from wrn_deploy.data import CorruptImage, ImageSource
from wrn_deploy.data.preprocess import fit_image
from wrn_deploy.data.sampling.digest import image_digest
from wrn_deploy.spec import ModelSpec, Preprocessing

__all__ = ["find_changes", "look_up", "score", "score_all", "to_png"]

LONGEST = 96  # pixels of a picture's side: twelve of a row stay below half a megabyte


def score_all(
    answers: Mapping[str, Answers], reference: Answers | None, source: ImageSource, spec: ModelSpec, *, pictures: bool
) -> dict[str, Accuracy]:
    """Scores the answers of each row against the reference's.

    Reads the data once more for the pictures of changed images; without `pictures` only their names are kept.
    """
    if reference is None:
        return {name: score(own, None, spec) for name, own in answers.items()}
    changes = {name: find_changes(own, reference) for name, own in answers.items()}
    wanted = {index for found in changes.values() for index in found}
    shown = look_up(source, spec.preprocessing, reference, wanted, pictures=pictures)

    def changed(name: str) -> Iterator[ChangedImage]:
        for index in changes[name]:
            if index in shown:
                classes = (answers[name].labels, reference.predicted, answers[name].predicted)
                label, before, after = (spec.label(int(each[index])) for each in classes)
                image, png = shown[index]
                yield ChangedImage(name=image, label=label, before=before, after=after, png=png)

    return {name: score(own, reference, spec, tuple(changed(name))) for name, own in answers.items()}


def find_changes(answers: Answers, reference: Answers) -> list[int]:
    """Returns up to KEPT_CHANGES images whose top class is not the reference's, evenly spaced among all of them."""
    assert np.array_equal(answers.labels, reference.labels), "the candidates saw different images"
    changed = np.flatnonzero(answers.predicted != reference.predicted)
    count = min(KEPT_CHANGES, len(changed))
    return [int(changed[index * len(changed) // count]) for index in range(count)]


def score(
    answers: Answers, reference: Answers | None, spec: ModelSpec | None = None, changed: tuple[ChangedImage, ...] = ()
) -> Accuracy:
    """Counts the right answers, and compares the answers with the reference's.

    Args:
        answers: the candidate's.
        reference: what they are compared with; None: nothing.
        spec: names the classes; None: they are not counted one by one.
        changed: some of the images whose top class is not the reference's.
    """
    if reference is not None:
        assert np.array_equal(answers.labels, reference.labels), "the candidates saw different images"
    same = None if reference is None else answers.predicted == reference.predicted
    errors = answers.errors if reference is not answers else None
    return Accuracy(
        images=len(answers.labels),
        correct=int((answers.predicted == answers.labels).sum()),
        agreement=None if same is None else float(same.mean()),
        correct5=None if answers.in_top5 is None else int(answers.in_top5.sum()),
        max_error=errors.largest if errors else None,
        mean_error=errors.mean if errors else None,
        classes=() if spec is None else _score_classes(answers, spec),
        changed=changed,
        changed_count=0 if same is None else int((~same).sum()),
    )


def _score_classes(answers: Answers, spec: ModelSpec) -> tuple[ClassScore, ...]:
    """Counts the classes that have images, in the network's order."""
    images = np.bincount(answers.labels, minlength=spec.classes)
    correct = np.bincount(answers.labels[answers.predicted == answers.labels], minlength=spec.classes)
    indices = [int(index) for index in np.flatnonzero(images)]
    return tuple(ClassScore(spec.label(index), int(images[index]), int(correct[index])) for index in indices)


def look_up(
    source: ImageSource, preprocessing: Preprocessing, answers: Answers, wanted: Collection[int], *, pictures: bool
) -> dict[int, tuple[str, str]]:
    """Returns name and picture (PNG, base64) of each image in `wanted`, by its index among those that were asked for.

    Reads the data once and decodes these images alone. The pixels are those that the network sees, before they are
    normalised. Without `pictures`, no image has any; nor has one that is not the image that was asked for, since the
    data have changed or a corrupt image has its name twice.
    """
    left, corrupt = set(wanted), set(answers.corrupt)
    found: dict[int, tuple[str, str]] = {}
    asked = (item for item in source.items() if item.name not in corrupt)
    for index, item in enumerate(asked if left else ()):
        if index in left:
            left.remove(index)
            try:
                pixels = fit_image(item.load(), preprocessing, item.name)
            except CorruptImage:
                continue
            kept = pictures and (not answers.images or image_digest(pixels) == answers.images[index])
            found[index] = (item.name, base64.b64encode(to_png(pixels, LONGEST)).decode() if kept else "")
        if not left:
            break
    return found


def to_png(image: npt.NDArray[np.uint8], longest: int) -> bytes:
    """Returns the image (RGB, uint8, HWC) as a PNG file, shrunk if a side is longer than `longest` pixels."""
    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail((longest, longest))  # never enlarges, and keeps the sides' ratio
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return file.getvalue()
