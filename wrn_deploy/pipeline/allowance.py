"""Reads how many corrupt images a command may leave out."""

from __future__ import annotations

from wrn_deploy.data.corrupt import Share
from wrn_deploy.errors import UsageError

__all__ = ["parse_allowance"]


def parse_allowance(text: str) -> int | Share:
    """The allowance in a text, as in "3" and "1%".

    Raises:
        UsageError: it is neither a whole number from 0 nor per cent from 0 to 100.
    """
    told = text.strip()
    try:
        allowance = Share(float(told.removesuffix("%"))) if told.endswith("%") else int(told)
    except (ValueError, UsageError):
        allowance = -1
    if allowance == -1 or (isinstance(allowance, int) and allowance < 0):
        raise UsageError(f"--max-corrupt {text!r}: expected a number of images from 0, or their share, as in 3 or 1%")
    return allowance
