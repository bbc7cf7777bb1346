"""How right a contender's answers are, as data: shares with intervals, classes, and images that changed class."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["KEPT_CHANGES", "Accuracy", "ChangedImage", "ClassScore", "Interval", "share_change", "wilson"]

KEPT_CHANGES = 12  # images of a row that are kept with their pixels, at most
QUANTILE = 1.959963984540054  # of the normal distribution: 95 % lie within plus and minus so many deviations


@dataclass(frozen=True, slots=True)
class Interval:
    """The ends of an interval that holds a share, 0..1, with a confidence of 95 %."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ClassScore:
    """How many images of one class there were, and how many of them were classified right."""

    label: str
    images: int
    correct: int


@dataclass(frozen=True, slots=True)
class ChangedImage:
    """An image whose top class is not the one that the reference row gave it.

    Args:
        name: the image's name in its data.
        label: its true class.
        before: the class that the reference row gave it.
        after: the class that this row gave it.
        png: its pixels as a small PNG, base64.
    """

    name: str
    label: str
    before: str
    after: str
    png: str


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Answers on labelled images; None: not known, or there is no reference row to compare with.

    Args:
        images: how many were asked for.
        correct: those whose top class is the label.
        agreement: the share of images with the same top class as the reference row.
        correct5: images whose label is among the five top classes.
        max_error: the largest absolute difference of a logit from the reference row's.
        mean_error: the mean of these absolute differences.
        classes: the same by class, in the network's order; empty: not kept.
        changed: up to KEPT_CHANGES of the images whose top class is not the reference row's.
        changed_count: how many such images there are altogether.
    """

    images: int
    correct: int
    agreement: float | None
    correct5: int | None = None
    max_error: float | None = None
    mean_error: float | None = None
    classes: tuple[ClassScore, ...] = ()
    changed: tuple[ChangedImage, ...] = ()
    changed_count: int = 0

    @property
    def top1(self) -> float:
        """The share of images classified right, 0..1."""
        return self.correct / self.images

    @property
    def top5(self) -> float | None:
        """The share of images whose label is among the five top classes, 0..1."""
        return None if self.correct5 is None else self.correct5 / self.images

    @property
    def interval(self) -> Interval:
        """What top-1 may be on more images like these."""
        return wilson(self.correct, self.images)


def wilson(correct: int, images: int) -> Interval:
    """The 95 % score interval of a share, which stays within 0..1 and holds for few images too.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
    American Statistical Association 22 (1927), 209-212.
    """
    assert 0 <= correct <= images, "a share of the images"
    assert images > 0, "a share of something"
    share, square = correct / images, QUANTILE**2 / images
    middle = share + square / 2
    half = math.sqrt(square * (share * (1 - share) + square / 4))
    low, high = (middle - half) / (1 + square), (middle + half) / (1 + square)
    return Interval(0.0 if correct == 0 else low, 1.0 if correct == images else high)


def share_change(before: Accuracy, after: Accuracy) -> Interval:
    """The 95 % interval of after's top-1 minus before's, -1..1, by Newcombe's hybrid of the two Wilson intervals.

    It takes the two for answers on different images. On the same images right answers go together, so that it is wider
    than it need be and a change it shows is shown; McNemar's test would need to know which images changed.

    Source: R. G. Newcombe, "Interval estimation for the difference between independent proportions", Statistics in
    Medicine 17 (1998), 873-890, method 10.
    """
    old, new, change = before.interval, after.interval, after.top1 - before.top1
    down = math.hypot(after.top1 - new.low, old.high - before.top1)
    up = math.hypot(new.high - after.top1, before.top1 - old.low)
    return Interval(change - down, change + up)
