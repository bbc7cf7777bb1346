"""Maps a source's class indices to the network's, by name if both have names; numpy only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wrn_deploy.data import ImageSource, Item
from wrn_deploy.data.imagenet_classes import CLASSES, ilsvrc_indices
from wrn_deploy.errors import DeployError
from wrn_deploy.spec import ModelSpec

__all__ = ["match_classes"]


def match_classes(source: ImageSource, spec: ModelSpec) -> ImageSource:
    """Returns the source with the network's class indices.

    Without class names, the source's indices are used unchanged. A folder with some of ImageNet's classes, for
    example, counts from 0 without gaps: only the names tell which classes they are. ImageNet's own names are known, so
    a network with 1,000 classes needs none.

    Raises:
        DeployError: the names do not identify the network's classes.
    """
    if not source.labels or source.labels == spec.labels:
        return source
    imagenet = ilsvrc_indices(source.labels, spec.labels) if spec.classes == CLASSES else None
    if imagenet is not None:
        return _Relabelled(source, spec.labels, imagenet)
    if not spec.labels:
        if len(source.labels) == spec.classes:
            return source
        raise DeployError(
            f"{source.name} has {len(source.labels)} named classes, and {spec.name} has {spec.classes} without names: "
            "expected the same number, or names for the network's classes; export it with --labels FILE"
        )
    twice = [label for label in source.labels if spec.labels.count(label) > 1]
    if twice:
        raise DeployError(
            f"{spec.name} has several classes named {twice[0]!r}: expected names that tell those of {source.name} "
            "apart; give its labels as class indices"
        )
    unknown = [label for label in source.labels if label not in spec.labels]
    if unknown:
        shown = ", ".join(unknown[:3])
        raise DeployError(
            f"{source.name} has {len(unknown)} classes that {spec.name} does not have ({shown}): expected some of "
            f"{', '.join(spec.labels[:3])}, ...; name them alike, or export with --labels FILE"
        )
    return _Relabelled(source, spec.labels, [spec.labels.index(label) for label in source.labels])


class _Relabelled:
    """A source whose items have the network's class indices."""

    def __init__(self, source: ImageSource, labels: tuple[str, ...], indices: list[int]) -> None:
        self.name = source.name
        self.labels = labels
        self.mirror = source.mirror
        self._source = source
        self._indices = indices

    def __len__(self) -> int:
        return len(self._source)

    def items(self, order: np.random.Generator | None = None) -> Iterator[Item]:
        for item in self._source.items(order):
            yield item if item.label is None else Item(item.name, self._indices[item.label], item.load)
