"""How foreign checkpoints name the tensors of a network, as data; the standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["OWN", "UNIT_VARIANCE", "KeyLayout"]

# A running variance whose BN multiplies by exactly 1: torch adds 1e-5 to it.
UNIT_VARIANCE = 1.0 - 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLayout:
    r"""One way of naming a family's tensors.

    Patterns are regular expressions that match a whole key. The first rule that matches one of our keys gives the
    file's key: `{1}` is the pattern's first group, and `{1:+1}` that number plus one, since some projects count from
    zero and others from one.

    Args:
        name: whose layout it is, as users know it.
        rules: pairs of a pattern of our keys and the file's key; a key that none matches is the same in both.
        constants: pairs of a pattern of our keys and their value, for tensors that such files lack.
        unused: patterns of keys that such a file has and its network never uses.
        refused: why such a file cannot be loaded, if its network computes something else; "": it can be.
        note: a warning for users of files in this layout.
    """

    name: str
    rules: tuple[tuple[str, str], ...] = ()
    constants: tuple[tuple[str, float], ...] = ()
    unused: tuple[str, ...] = ()
    refused: str = ""
    note: str = ""

    def names(self, own: Iterable[str]) -> dict[str, str]:
        """Our keys and those of such a file, without the constants, which it lacks."""
        return {key: self.key(key) for key in own if not self.constants or self.constant(key) is None}

    def key(self, own: str) -> str:
        """The key in such a file of our tensor `own`."""
        for pattern, template in self.rules:
            match = re.fullmatch(pattern, own)
            if match is not None:
                return _fill(template, match)
        return own

    def constant(self, own: str) -> float | None:
        """The value of all elements of `own` if such files lack it; None if they have it."""
        return next((value for pattern, value in self.constants if re.fullmatch(pattern, own)), None)

    def leaves_out(self, key: str) -> bool:
        """Whether the network of such a file never uses its tensor `key`."""
        return any(re.fullmatch(pattern, key) for pattern in self.unused)


OWN = KeyLayout(name="wrn-deploy")


def _fill(template: str, match: re.Match[str]) -> str:
    def value(field: re.Match[str]) -> str:
        group = match[int(field[1])]
        return group if field[2] is None else str(int(group) + int(field[2]))

    return re.sub(r"\{(\d)(?::([+-]\d+))?\}", value, template)
