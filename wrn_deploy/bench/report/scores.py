"""How right a candidate's answers are, as data: counts with intervals, limits on them, and load scenarios."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = [
    "KEPT_CHANGES", "Accuracy", "ChangedImage", "ClassScore", "Interval", "LoadResult", "exceeds", "falls_short",
    "top1_change", "wilson",
]  # fmt: skip

KEPT_CHANGES = 12  # images of a row that are kept with their pixels, at most
QUANTILE = 1.959963984540054  # of the normal distribution: 95 % lie within plus and minus this many deviations
ROUNDING = 1e-9  # limits such as 0.1 have no exact binary form


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % confidence interval of a fraction, 0..1, or of a difference of two, -1..1."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ClassScore:
    """The images of one class, and how many of them were classified right."""

    label: str
    images: int
    correct: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedImage:
    """An image that got another top class than from the reference row.

    Args:
        name: the image's name in its data.
        label: its true class.
        before: the reference row's class.
        after: this row's class.
        png: its pixels as a small PNG, base64.
    """

    name: str
    label: str
    before: str
    after: str
    png: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Answers on labelled images; None: not known, or without a reference row.

    Args:
        images: all images that were answered.
        correct: images whose top class is the label.
        agreement: the fraction of images with the same top class as the reference row.
        correct5: images whose label is among the five top classes.
        max_error: the largest absolute difference of a logit from the reference row's.
        mean_error: the mean of these absolute differences.
        classes: by class, in the network's order; empty: not kept.
        changed: up to KEPT_CHANGES of the images whose top class is not the reference row's.
        changed_count: all such images.
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
        """The fraction of images classified right, 0..1."""
        return self.correct / self.images

    @property
    def top5(self) -> float | None:
        """The fraction of images whose label is among the five top classes, 0..1."""
        return None if self.correct5 is None else self.correct5 / self.images

    @property
    def interval(self) -> Interval:
        """What top-1 may be on more images like these."""
        return wilson(self.correct, self.images)

    @property
    def beats_guessing(self) -> bool:
        """Whether top-1 is shown to be above a guess among the classes that have images; True if they are unknown."""
        return len(self.classes) < 2 or self.interval.low > 1 / len(self.classes)


def wilson(correct: int, images: int) -> Interval:
    """The 95 % score interval of a fraction, which stays within 0..1 and holds for few images too.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
    American Statistical Association 22 (1927), 209-212.
    """
    assert 0 <= correct <= images > 0, f"{correct} of {images} images"
    fraction, square = correct / images, QUANTILE**2 / images
    middle = fraction + square / 2
    half = math.sqrt(square * (fraction * (1 - fraction) + square / 4))
    low, high = (middle - half) / (1 + square), (middle + half) / (1 + square)
    return Interval(0.0 if correct == 0 else low, 1.0 if correct == images else high)


def top1_change(before: Accuracy, after: Accuracy) -> Interval:
    """The 95 % interval of after's top-1 minus before's, -1..1, by Newcombe's hybrid of the two Wilson intervals.

    The method assumes different images. On the same images right answers correlate, so the interval is wider than
    necessary, and a change that it shows is real; McNemar's test would need to know which images changed.

    Source: R. G. Newcombe, "Interval estimation for the difference between independent proportions", Statistics in
    Medicine 17 (1998), 873-890, method 10.
    """
    old, new, change = before.interval, after.interval, after.top1 - before.top1
    down = math.hypot(after.top1 - new.low, old.high - before.top1)
    up = math.hypot(new.high - after.top1, before.top1 - old.low)
    return Interval(change - down, change + up)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """What MLPerf's LoadGen measured of a candidate in one scenario; `reason` is its advice if the run is not `valid`.

    `target_ms` is the latency asked for (Server), `log` the folder of LoadGen's logs, beside the report.
    """

    scenario: str
    valid: bool
    target_ms: float | None
    samples_per_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    queries: int
    log: str
    reason: str | None = None


def exceeds(count: int, images: int, percent: float) -> bool:
    """Whether `count` is more than `percent` percent of `images`; a count that a limit just allows does not exceed."""
    return 100 * count > percent * images + ROUNDING


def falls_short(count: int, images: int, percent: float) -> bool:
    """Whether `count` is less than `percent` percent of `images`; the exact count does not fall short."""
    return 100 * count < percent * images - ROUNDING
