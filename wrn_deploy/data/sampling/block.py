"""A contiguous block of a sequence, so that several machines can share the work; the standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wrn_deploy.errors import UsageError

__all__ = ["Block", "parse_block"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Block `index` of `count`, counted from 0: all blocks together are the sequence. The default is all of it.

    Example:
        >>> [list(Block(index=index, count=3).of(7)) for index in range(3)]
        [[0, 1], [2, 3], [4, 5, 6]]
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise UsageError(f"shard {self}: expected I/N with I from 0 to N-1, such as 0/8 for the first of eight")

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def of(self, total: int, unit: int = 1) -> range:
        """The places of this block in a sequence of `total`; a block begins at a multiple of `unit`.

        Raises:
            UsageError: a block would be empty.
        """
        units = -(-total // unit)
        if units < self.count:
            raise UsageError(f"shard {self}: expected at most {units} shards of {total} images, {unit} or more in each")
        first, end = (number * units // self.count * unit for number in (self.index, self.index + 1))
        return range(first, min(end, total))


def parse_block(text: str) -> Block:
    """Parses the value of --shard, as in "3/8".

    Raises:
        UsageError: it is not I/N with I from 0 to N-1.
    """
    found = re.fullmatch("([0-9]{1,9})/([0-9]{1,9})", text.strip())
    if found is None:
        raise UsageError(f"--shard {text!r}: expected I/N with I from 0 to N-1, such as 0/8 for the first of eight")
    return Block(index=int(found[1]), count=int(found[2]))
