"""How foreign checkpoints name the tensors of a network: data and what it means; the standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["OWN", "UNIT_VARIANCE", "KeyLayout"]

# A running variance whose BN multiplies by exactly 1: torch adds 1e-5 to it.
UNIT_VARIANCE = 1.0 - 1e-5


@dataclass(frozen=True, slots=True)
class KeyLayout:
    r"""One way of naming a family's tensors.

    Patterns are regular expressions that match a whole key. The first rule that matches a key of ours gives the file's
    key: `{1}` is the pattern's first group, and `{1:+1}` that number plus one, since some count from zero and others
    from one.

    Args:
        name: whose layout it is, as users know it.
        rules: pairs of a pattern of our keys and the file's key; a key that none matches is the same in both.
        constants: pairs of a pattern of our keys and their value, where files have no such tensor.
        unused: patterns of the file's keys that its own network has and never uses.
        refused: why such a file cannot be loaded: its network computes something else. "": it can be.
        note: what a user must know of files in this layout.
    """

    name: str
    rules: tuple[tuple[str, str], ...] = ()
    constants: tuple[tuple[str, float], ...] = ()
    unused: tuple[str, ...] = ()
    refused: str = ""
    note: str = ""

    def key(self, own: str) -> str:
        """The name that the tensor `own` of ours has in such a file."""
        for pattern, template in self.rules:
            match = re.fullmatch(pattern, own)
            if match is not None:
                return _fill(template, match)
        return own

    def constant(self, own: str) -> float | None:
        """The value of every element of `own`, where such files do not have it."""
        return next((value for pattern, value in self.constants if re.fullmatch(pattern, own)), None)

    def leaves_out(self, key: str) -> bool:
        """Whether such a file's network never uses the tensor `key`."""
        return any(re.fullmatch(pattern, key) for pattern in self.unused)


OWN = KeyLayout("wrn-deploy")


def _fill(template: str, match: re.Match[str]) -> str:
    def value(place: re.Match[str]) -> str:
        group = match[int(place[1])]
        return group if place[2] is None else str(int(group) + int(place[2]))

    return re.sub(r"\{(\d)(?::([+-]\d+))?\}", value, template)
