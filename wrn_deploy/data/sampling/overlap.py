"""Records which images a set has, to find out whether another set has some of them; the standard library only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from wrn_deploy.errors import DamagedFile

__all__ = ["ImageSet", "read_image_set"]

HEADER = "wrn-deploy images 1"
# Bytes kept of each sha256. The probability that any two of 100,000 calibration and 100,000 other images agree in them
# by chance is 10**10 / 2**64, less than one in a thousand million.
KEPT = 8


@dataclass(frozen=True, slots=True)
class ImageSet:
    """The first bytes of the images' digests (`data.sampling.digest.image_digest`), without order or repetition."""

    starts: frozenset[bytes]

    @classmethod
    def of(cls, digests: Iterable[bytes]) -> Self:
        """Returns the set of the images with these sha256."""
        return cls(frozenset(digest[:KEPT] for digest in digests))

    def __len__(self) -> int:
        """The number of different images."""
        return len(self.starts)

    def count(self, digests: Iterable[bytes]) -> int:
        """Counts these images that are in the set; an image that is given twice counts twice."""
        return sum(digest[:KEPT] in self.starts for digest in digests)

    def to_text(self) -> str:
        """Returns a header, and a sorted line of 16 hexadecimal digits per image: equal sets make equal files."""
        return "\n".join([HEADER, *sorted(start.hex() for start in self.starts)]) + "\n"


def read_image_set(file: Path) -> ImageSet:
    """Reads what `to_text` wrote.

    Raises:
        DamagedFile: the file is damaged, or of another format.
    """
    try:
        header, *lines = file.read_text(encoding="ascii").splitlines()
        starts = [bytes.fromhex(line) for line in lines]
    except (OSError, ValueError) as error:
        raise DamagedFile(f"{file} is not a list of images ({error}): calibrate again") from error
    if header != HEADER or any(len(start) != KEPT for start in starts):
        raise DamagedFile(
            f"{file} is not a list of images: expected {HEADER!r} and {2 * KEPT} digits a line; calibrate again"
        )
    return ImageSet(frozenset(starts))
