"""The 1,000 classes of ILSVRC 2012: WordNet ids in the order of the networks' outputs, and names; no numpy."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from importlib import resources

__all__ = ["CLASSES", "class_names", "ilsvrc_indices", "ilsvrc_wnid"]

CLASSES = 1000


@functools.cache
def _known() -> tuple[tuple[str, str, str], ...]:
    """(wnid, name, unique name), sorted by wnid; the names are those of Keras' imagenet_class_index.json."""
    text = resources.files("wrn_deploy.data").joinpath("imagenet_classes.txt").read_text(encoding="ascii")
    rows = [line.split(" ", 1) for line in text.splitlines()]
    counts = Counter(name for _, name in rows)
    return tuple((wnid, name, name if counts[name] == 1 else f"{name} ({wnid})") for wnid, name in rows)


def ilsvrc_wnid(index: int) -> str:
    """Returns the WordNet id of a class index; raises ValueError outside 0 to 999."""
    if not 0 <= index < CLASSES:
        raise ValueError(f"class index {index}")
    return _known()[index][0]


def class_names(wnids: Sequence[str]) -> tuple[str, ...]:
    """Returns a unique name for each id: two classes are named crane. An id outside ILSVRC is its own name."""
    names = {wnid: unique for wnid, _, unique in _known()}
    return tuple(names.get(wnid, wnid) for wnid in wnids)


def ilsvrc_indices(labels: Sequence[str], among: Sequence[str] = ()) -> list[int] | None:
    """Returns the class indices of ids or names; None if one is unknown or two are the same.

    Also None if `among`, the names of a network's classes, has another class at one of the indices.
    """
    known = {text: index for index, (wnid, _, unique) in enumerate(_known()) for text in (wnid, unique)}
    indices = [known.get(label, -1) for label in labels]
    if -1 in indices or len(set(indices)) < len(indices):
        return None
    if among and any(among[index] not in _known()[index] for index in indices):
        return None
    return indices
