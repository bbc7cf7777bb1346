"""What a guard found that makes an int8 network doubtful: a value, and how it is told; no numpy, no onnx."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wrn_deploy.progress import Progress

__all__ = ["SHOWN", "Caution", "listed", "tell"]

SHOWN = 3  # names that a text lists


@dataclass(frozen=True, slots=True)
class Caution:
    """One guard's warning; `dataclasses.asdict` gives what JSON can hold.

    Args:
        id: the guard's, never given to another one; docs/guards.md explains it.
        names: the tensors, layers or files that it is about, the worst first.
        numbers: what was measured, and the limit that it misses.
        found: what was found, with the values.
        remedy: why it matters and what to do.
    """

    id: str
    names: tuple[str, ...]
    numbers: Mapping[str, float]
    found: str
    remedy: str

    @property
    def text(self) -> str:
        """About two lines of a terminal."""
        return f"{self.found}: {self.remedy} [{self.id}]"


def listed(names: Sequence[str]) -> str:
    """The first names, as in "a, b, c and 4 more"."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def tell(cautions: Iterable[Caution], progress: Progress) -> None:
    """Warns of each."""
    for caution in cautions:
        progress.warn(caution.text)
