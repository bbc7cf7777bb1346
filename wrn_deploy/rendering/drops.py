"""Finds the classes that a contender answers worse than the reference row; counting alone."""

from __future__ import annotations

from dataclasses import dataclass

from wrn_deploy.bench.report.report import Report, Row

__all__ = ["ClassDrop", "worst_classes"]


@dataclass(frozen=True, slots=True)
class ClassDrop:
    """One class: its images, and how many of them the reference row and this row classified right."""

    label: str
    images: int
    before: int
    after: int

    @property
    def lost(self) -> float:
        """The share of the class's images that is lost, 0..1."""
        return (self.before - self.after) / self.images


def worst_classes(report: Report, row: Row, limit: int) -> tuple[ClassDrop, ...]:
    """Up to `limit` classes that lose most against the reference row, the worst first; those that lose nothing not."""
    reference = next((other for other in report.rows if other.name == report.reference), None)
    if reference is None or reference is row or reference.accuracy is None or row.accuracy is None:
        return ()
    before = {score.label: score for score in reference.accuracy.classes}
    drops = [
        ClassDrop(score.label, score.images, before[score.label].correct, score.correct)
        for score in row.accuracy.classes
        if score.images > 0 and score.label in before and before[score.label].images == score.images
    ]
    lost = [drop for drop in drops if drop.after < drop.before]
    return tuple(sorted(lost, key=lambda drop: (-drop.lost, drop.after - drop.before, drop.label))[:limit])
