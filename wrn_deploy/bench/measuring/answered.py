"""A candidate's answers as arrays and back, and those of several shards as one, exactly."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from wrn_deploy.bench.measuring.accuracy import Answers, LogitErrors
from wrn_deploy.bench.measuring.exact_sum import ExactSum
from wrn_deploy.data.containers.array_file import Array, check_shape
from wrn_deploy.errors import DamagedFile

__all__ = ["AnswerRecord", "answers_from", "merge_answers"]

DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRecord:
    """What is kept of answers beside arrays.

    Attributes:
        top5: whether it is known if a label is among the five top classes.
        largest: the largest difference of a logit from the reference's; None: nothing was compared.
        units: the exact sum of the differences in units of 2**-1074, in hexadecimal digits.
        compared: how many logits were compared.
    """

    top5: bool
    largest: float | None
    units: str
    compared: int

    def __post_init__(self) -> None:
        if (self.largest is None) is not (self.compared == 0) or self.compared < 0 or self.total.units < 0:
            raise DamagedFile("the differences of its logits are impossible")

    @classmethod
    def of(cls, answers: Answers) -> AnswerRecord:
        """That of these answers."""
        errors = answers.errors
        total = ExactSum() if errors is None else errors.total
        return cls(
            top5=answers.in_top5 is not None,
            largest=None if errors is None else errors.largest,
            units=f"{total.units:x}",
            compared=total.count,
        )

    @property
    def total(self) -> ExactSum:
        """The sum of the differences."""
        return ExactSum(int(self.units, 16), self.compared)

    def arrays(self, answers: Answers, name: str) -> dict[str, Array]:
        """The arrays of these answers; `name` tells those of one candidate from another's."""
        arrays: dict[str, Array] = {f"{name}.predicted": answers.predicted.astype(np.int64)}
        if answers.in_top5 is not None:
            arrays[f"{name}.top5"] = answers.in_top5
        return arrays


def answers_from(
    record: AnswerRecord, arrays: Mapping[str, Array], name: str, corrupt: tuple[str, ...], classes: int
) -> Answers:
    """The answers that `AnswerRecord.arrays` made arrays of, with the arrays `labels` and `digests` of all candidates.

    Raises:
        DamagedFile: an array is missing, of another type or shape, or has classes that the network does not have.
    """
    labels = check_shape(arrays, "labels", np.int64, (None,))
    count = len(labels)
    digests = check_shape(arrays, "digests", np.uint8, (count, DIGEST_BYTES))
    predicted = check_shape(arrays, f"{name}.predicted", np.int64, (count,))
    if not count or any((found < 0).any() or (found >= classes).any() for found in (labels, predicted)):
        raise DamagedFile(f"it has no image, or a class that is not 0 to {classes - 1}")
    images = tuple(digest.tobytes() for digest in digests)
    return Answers(
        predicted=predicted,
        labels=labels,
        digest=_digest(images),
        corrupt=corrupt,
        images=images,
        in_top5=check_shape(arrays, f"{name}.top5", np.bool_, (count,)) if record.top5 else None,
        errors=None if record.largest is None else LogitErrors(record.largest, record.total),
    )


def merge_answers(one: Answers, other: Answers) -> Answers:
    """The answers to the images of both, those of `one` first.

    Raises:
        DamagedFile: only one of them has top-5, or was compared with a reference.
    """
    if (one.in_top5 is None) is not (other.in_top5 is None) or (one.errors is None) is not (other.errors is None):
        raise DamagedFile("only some shards have top-5, or the errors of the logits: run them again")
    images = one.images + other.images
    tops = [each for each in (one.in_top5, other.in_top5) if each is not None]
    return Answers(
        predicted=np.concatenate([one.predicted, other.predicted]),
        labels=np.concatenate([one.labels, other.labels]),
        digest=_digest(images),
        corrupt=one.corrupt + other.corrupt,
        images=images,
        in_top5=np.concatenate(tops) if tops else None,
        errors=None if one.errors is None or other.errors is None else one.errors.merged(other.errors),
    )


def _digest(images: tuple[bytes, ...]) -> str:
    """As `data.sampling.digest.DataDigest` computes it."""
    return hashlib.sha256(b"".join(sorted(images))).hexdigest()
