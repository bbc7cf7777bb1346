"""Expands patterns of shards, as in `train-{000..099}.tar`, and finds the split of each file of a folder."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path

from wrn_deploy.data.containers.listing import check_inside
from wrn_deploy.data.splits import find_word
from wrn_deploy.errors import DeployError

__all__ = ["by_split", "expand_pattern", "find_shards", "is_pattern"]

BRACES = re.compile(r"\{([^{}]+)\}")
RANGE = re.compile(r"(\d+)\.\.(\d+)")
MAX_SHARDS = 10**5  # LAION-400M has 41,455
LONGEST = 18  # digits


def is_pattern(path: Path, endings: tuple[str, ...]) -> bool:
    """Whether it is a pattern for files with one of the endings."""
    return bool(BRACES.search(str(path))) and path.name.lower().endswith(endings)


def expand_pattern(pattern: str) -> list[Path]:
    """Expands braces as a shell does: `{000..012}` and `{a,b}`.

    Raises:
        DeployError: the braces name too many files, or numbers that go down.
    """
    parts = BRACES.split(pattern)
    choices = [_choices(part, pattern) if index % 2 else [part] for index, part in enumerate(parts)]
    count = math.prod(map(len, choices))
    if count > MAX_SHARDS:
        raise _too_many(pattern, count)
    return [Path("".join(chosen)) for chosen in itertools.product(*choices)]


def find_shards(pattern: str) -> list[Path]:
    """Returns the files that a pattern names.

    Raises:
        DeployError: one is missing, or as `expand_pattern`.
    """
    files = expand_pattern(pattern)
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise DeployError(
            f"{pattern} names {len(files)} shards, and {len(missing)} are missing, the first {missing[0]}: expected "
            "all of them; change the numbers, or download it again"
        )
    return files


def by_split(folder: Path, files: Sequence[Path]) -> dict[str | None, list[Path]]:
    """Groups the files of a folder by the split that their names, or those of the folders between, tell; None: none.

    Raises:
        DamagedFile: a file leads out of the folder through a link.
    """
    check_inside(folder, files)
    groups = dict[str | None, list[Path]]()
    for file in files:
        groups.setdefault(find_word(file.relative_to(folder).as_posix()), []).append(file)
    return groups


def _choices(braces: str, pattern: str) -> list[str]:
    found = RANGE.fullmatch(braces)
    if not found:
        return braces.split(",")
    first, last = found.groups()
    if max(len(first), len(last)) > LONGEST or int(last) < int(first):
        raise DeployError(f"{pattern} has {{{braces}}}: expected ascending numbers, such as {{000..099}}")
    if int(last) - int(first) >= MAX_SHARDS:
        raise _too_many(pattern, int(last) - int(first) + 1)
    width = len(first) if first.startswith("0") or len(first) == len(last) else 0
    return [f"{number:0{width}}" for number in range(int(first), int(last) + 1)]


def _too_many(pattern: str, count: int) -> DeployError:
    return DeployError(f"{pattern} names {count:,} shards: expected at most {MAX_SHARDS:,}; use fewer at once")
