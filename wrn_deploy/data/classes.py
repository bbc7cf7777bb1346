"""Maps a source's class indices to the network's, by name if both have names; numpy only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wrn_deploy.data import ImageSource, Item
from wrn_deploy.data.imagenet_classes import CLASSES, ilsvrc_indices
from wrn_deploy.data.sources import LazySource
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
        return _relabel(source, spec.labels, imagenet)
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
    return _relabel(source, spec.labels, [spec.labels.index(label) for label in source.labels])


def _relabel(source: ImageSource, labels: tuple[str, ...], indices: list[int]) -> ImageSource:
    def read(order: np.random.Generator | None) -> Iterator[Item]:
        for item in source.items(order):
            yield item if item.label is None else Item(item.name, indices[item.label], item.load)

    return LazySource(name=source.name, count=len(source), read=read, labels=labels, mirror=source.mirror)
