"""Finds out which files belong to which split of a data set, and chooses one; the standard library only."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from wrn_deploy.data import Role
from wrn_deploy.errors import DeployError

__all__ = ["ROLE_WORDS", "SPLIT_WORDS", "Choice", "choose_role", "choose_split", "find_word"]

ROLE_WORDS = {
    Role.TRAIN: ("train", "training"),
    Role.TEST: ("test", "val", "validation", "valid"),
}  # the first one wins
SPLIT_WORDS = (*ROLE_WORDS[Role.TRAIN], *ROLE_WORDS[Role.TEST])
SAME = ({"train", "training"}, {"val", "validation", "valid"})


@dataclass(frozen=True, slots=True)
class Choice:
    """A split by its name, and what to say of the choice."""

    split: str
    notes: tuple[str, ...] = ()


def find_word(name: str) -> str | None:
    """Returns the first word of a file's path that names a split, as in data/train-00000.parquet; None without one."""
    return next((word for word in re.split(r"[^a-z]+", name.lower()) if word in SPLIT_WORDS), None)


def choose_split(
    found: Collection[str],
    role: Role,
    split: str | None,
    name: str,
    is_labelled: Callable[[str], bool] = lambda _: True,
) -> Choice:
    """Chooses the split that is asked for, else the first one of the role that has labels.

    Args:
        found: the splits of the data set, in lower case.
        role: the purpose of the images.
        split: the split that the user asks for by name; None: that of the role.
        name: the data set, for the texts.
        is_labelled: whether the images of a split have labels; asked only if there is another one to take.

    Raises:
        DeployError: there is no such split.
    """
    if split is not None:
        same = next((group for group in SAME if split.lower() in group), {split.lower()})
        chosen = next((word for word in (split.lower(), *sorted(same)) if word in found), None)
        if chosen is None:
            raise _no_split(name, split, found)
        return Choice(chosen)
    offered = [word for word in ROLE_WORDS[role] if word in found]
    if not offered:
        raise DeployError(
            f"{name} has only the split {', '.join(sorted(found))}: expected one of {', '.join(ROLE_WORDS[role])} too; "
            f"give {name}:{min(found)} to use it for this"
        )
    for index, word in enumerate(offered[:-1]):
        if is_labelled(word):
            return _chosen(word, offered[:index], name)
    if len(offered) > 1 and not is_labelled(offered[-1]):
        return Choice(offered[0])
    return _chosen(offered[-1], offered[:-1], name)


def choose_role(role: Role, split: str | None, name: str) -> Role:
    """Returns the role of a split that is asked for by name, of a data set that has one split a role.

    Raises:
        DeployError: there is no such split.
    """
    if split is None:
        return role
    for known in Role:
        if split.lower() == known.value:
            return known
    raise _no_split(name, split, [known.value for known in Role])


def _chosen(word: str, passed: list[str], name: str) -> Choice:
    if not passed:
        return Choice(word)
    return Choice(word, (f"{name}: {' and '.join(passed)} has no labels, so {word} is read",))


def _no_split(name: str, split: str, found: Collection[str]) -> DeployError:
    there = f"one of {', '.join(sorted(found))}" if found else "no split, since it has none"
    return DeployError(f"{name} has no split {split!r}: expected {there}")
