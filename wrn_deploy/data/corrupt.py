"""How many corrupt images may be left out: a number, or a share of all; the standard library only."""

from __future__ import annotations

from dataclasses import dataclass

from wrn_deploy.errors import UsageError

__all__ = ["Share", "allowed_of"]


@dataclass(frozen=True, slots=True)
class Share:
    """So many in a hundred of the images that were asked for; rounded down, so that 1 % of 50 is none."""

    per_cent: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.per_cent <= 100.0:
            raise UsageError(f"a share of {self.per_cent} %: expected 0 to 100 per cent")


def allowed_of(allowance: int | Share, images: int) -> int:
    """How many of so many images may be corrupt."""
    return int(images * allowance.per_cent / 100.0) if isinstance(allowance, Share) else allowance
