"""The 1,000 classes of ILSVRC 2012: WordNet ids in the order of the networks' outputs, and names; no numpy."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from importlib import resources

__all__ = ["CLASSES", "class_names", "ilsvrc_indices", "ilsvrc_wnid"]

CLASSES = 1000


@functools.cache
def _known() -> tuple[tuple[str, str], ...]:
    """(wnid, name), sorted by wnid; the names are those of Keras' imagenet_class_index.json, WordNet's first lemmas."""
    text = resources.files("wrn_deploy.data").joinpath("imagenet_classes.txt").read_text(encoding="ascii")
    rows = [line.split(" ", 1) for line in text.splitlines()]
    return tuple((wnid, name) for wnid, name in rows)


def ilsvrc_wnid(index: int) -> str:
    """Returns the WordNet id of a class index, 0 to 999."""
    return _known()[index][0]


def class_names(wnids: Sequence[str]) -> tuple[str, ...]:
    """Returns a unique name for each id: two classes are named crane. An id outside ILSVRC is its own name."""
    return tuple(_names().get(wnid, wnid) for wnid in wnids)


def ilsvrc_indices(labels: Sequence[str], among: Sequence[str] = ()) -> list[int] | None:
    """Returns the class indices of ids or names; None if one is unknown or two are the same.

    Also None if `among`, the names of a network's classes, has another class at one of the indices.
    """
    plain = Counter(name for _, name in _known())
    found: dict[str, int] = {}
    for index, (wnid, name) in enumerate(_known()):
        found |= dict.fromkeys([wnid, _names()[wnid], *([name] if plain[name] == 1 else [])], index)
    indices = [found.get(label, -1) for label in labels]
    if -1 in indices or len(set(indices)) < len(indices):
        return None
    for index in indices if among else ():
        wnid, name = _known()[index]
        if among[index] not in (wnid, name, _names()[wnid]):
            return None
    return indices


@functools.cache
def _names() -> dict[str, str]:
    plain = Counter(name for _, name in _known())
    return {wnid: name if plain[name] == 1 else f"{name} ({wnid})" for wnid, name in _known()}
