"""The maximum of corrupt images that may be left out: a number, or a percentage; the standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from wrn_deploy.errors import UsageError

__all__ = ["MaxCorrupt", "Percent", "count_allowed", "parse_max_corrupt"]


@dataclass(frozen=True, slots=True)
class Percent:
    """A percentage, 0 to 100, of the images that were asked for."""

    value: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.value <= 100.0:
            raise UsageError(f"{self.value} % of the images: expected 0 to 100 %")


MaxCorrupt: TypeAlias = int | Percent


def count_allowed(max_corrupt: MaxCorrupt, images: int) -> int:
    """Returns the number of corrupt images allowed among `images`, rounded down: 1 % of 50 is 0."""
    return int(images * max_corrupt.value / 100.0) if isinstance(max_corrupt, Percent) else max_corrupt


def parse_max_corrupt(text: str) -> MaxCorrupt:
    """Parses the value of --max-corrupt, as in "3" and "1%".

    Raises:
        UsageError: it is neither a whole number from 0 nor a percentage from 0 to 100.
    """
    value = text.strip()
    try:
        found = Percent(float(value.removesuffix("%"))) if value.endswith("%") else int(value)
        if isinstance(found, Percent) or found >= 0:
            return found
    except (ValueError, UsageError):
        pass
    raise UsageError(f"--max-corrupt {text!r}: expected a number of images from 0, or a percentage, such as 3 or 1%")
