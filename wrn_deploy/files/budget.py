"""The limits on what is read from outside, in one object: sizes, counts, nesting, seconds; the standard library only.

A reader asks `budget()` for the limits in force and checks a size that a file declares before it allocates anything.
The limits belong to the process, as its umask does, and its children inherit them: the environment variable
`WRN_DEPLOY_LIMITS` holds what differs from the defaults, as in `pixels=2e8,seconds=300`; the command line's
`--limit NAME=NUMBER` sets it.

Example:
    ```python
    budget().check("pixels", width * height, "photo.png")
    ```
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass

from wrn_deploy.errors import OverLimit, UsageError

__all__ = ["VARIABLE", "Budget", "budget", "parse_limits", "raised"]

VARIABLE = "WRN_DEPLOY_LIMITS"
UNITS = {
    "text_bytes": "bytes of text",
    "download_bytes": "bytes to download",
    "image_bytes": "bytes in one image file",
    "pixels": "pixels",
    "members": "members",
    "memory_bytes": "bytes in memory",
    "ratio": "times the size of the file, inflated",
    "parts": "parts to keep in memory",
    "nesting": "levels of nesting",
    "seconds": "seconds",
    "links": "links",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What one file from outside may take.

    The defaults are generous: about ten times what the largest known honest file needs, and small enough that one file
    cannot exhaust a machine with 16 GiB.

    Args:
        text_bytes: size of a JSON, CSV, TOML or label file.
        download_bytes: size of a file from the network.
        image_bytes: size of one encoded image, in a folder, an archive or a table.
        pixels: width times height of an image, as decoded and after the resize.
        members: files in an archive, rows of a table, tensors of a checkpoint.
        parts: what is listed in memory before any of it is read: nodes and constants of a graph, with its functions
            written out; members of a .zip archive; objects of an HDF5 file; objects, lists and texts of a JSON file,
            four a part.
        memory_bytes: size in memory of the arrays that a file declares.
        ratio: inflated size over compressed size; not checked for results below 64 MiB.
        nesting: depth of nested values, in JSON, pickles and graphs.
        seconds: time for one file in a process of its own.
        links: 1 follows links in a folder of images to other folders, and out of it; 0 does not.
    """

    text_bytes: int = 256 * 2**20
    download_bytes: int = 4 * 2**30
    image_bytes: int = 256 * 2**20
    pixels: int = 100_000_000
    members: int = 20_000_000
    memory_bytes: int = 16 * 2**30
    ratio: int = 200
    parts: int = 500_000
    nesting: int = 100
    seconds: int = 60
    links: int = 0

    def check(self, limit: str, amount: float, what: object) -> None:
        """Checks an amount that the file `what` declares against the limit of that name.

        Raises:
            OverLimit: it is larger, negative or not a number.
        """
        most = getattr(self, limit)
        if 0 <= amount <= most:
            return
        if not amount >= 0:
            raise OverLimit(f"{what} declares {amount:,} {UNITS[limit]}: expected 0 to {most:,}; the file is damaged")
        found = f"{amount:,.0f}" if amount < LARGEST_SHOWN else f"more than {LARGEST_SHOWN:.0e}"
        raise OverLimit(
            f"{what} needs {found} {UNITS[limit]}: the limit is {most:,}; if you trust the file, raise it with "
            f"`wrn-deploy --limit {limit}={_suggested(amount)} ...` or {VARIABLE}={limit}={_suggested(amount)}"
        )

    def check_inflated(self, inflated: int, compressed: int, what: object) -> None:
        """Checks the size in memory of what is decompressed, before or while it is.

        Raises:
            OverLimit: it is more than `memory_bytes`, or more than 64 MiB and `ratio` times the compressed size.
        """
        self.check("memory_bytes", inflated, what)
        self.check_ratio(inflated, compressed, what)

    def check_ratio(self, inflated: int, compressed: int, what: object) -> None:
        """Checks the size of what is decompressed piece by piece, so that it is never in memory as a whole.

        Raises:
            OverLimit: it is more than 64 MiB and `ratio` times the compressed size.
        """
        if inflated > INFLATES_FREELY:
            self.check("ratio", -(-inflated // max(1, compressed)), what)

    def inflated_bytes(self, compressed: int) -> int:
        """The most that `compressed` bytes may inflate to; for decompressors that take a maximum."""
        return min(self.memory_bytes, max(INFLATES_FREELY, self.ratio * compressed))


MOST, MOST_SECONDS = 10**18, 10**9  # what files and clocks can count to
LARGEST_SHOWN = 1e18  # a number above is of no use to a reader, and may be no float
INFLATES_FREELY = 64 * 2**20  # bytes; labels and blank images compress by more than any ratio that stops a bomb


def budget() -> Budget:
    """The limits in force.

    Raises:
        UsageError: the environment variable holds something else than limits.
    """
    return parse_limits(os.environ.get(VARIABLE, ""))


def parse_limits(text: str) -> Budget:
    """The defaults with the changes in `text`, as in "pixels=2e8,seconds=300"; an empty text changes nothing.

    Raises:
        UsageError: an unknown name, or a number that is too small or too large.
    """
    changes = dict[str, int]()
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = part.partition("=")
        try:
            changes[name] = int(float(number))
        except (ValueError, OverflowError):
            changes[name] = 0
        if name not in UNITS or not 1 <= changes[name] <= (MOST_SECONDS if name == "seconds" else MOST):
            defaults = ", ".join(f"{field.name}={field.default}" for field in dataclasses.fields(Budget))
            raise UsageError(
                f"limit {part!r}: expected NAME=NUMBER with a number from 1 to 1e18, of seconds to 1e9; defaults: "
                f"{defaults}"
            )
    return Budget(**changes)


@contextlib.contextmanager
def raised(text: str) -> Iterator[None]:
    """Puts the limits in `text` in force, on top of those there, for this process and the children it starts meanwhile.

    Raises:
        UsageError: an unknown name, or a number that is too small or too large.
    """
    before = os.environ.get(VARIABLE)
    together = ",".join(filter(None, (before, text)))
    parse_limits(together)
    os.environ[VARIABLE] = together
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def _suggested(amount: float) -> str:
    """A round number of at least `amount`, as in 2e8."""
    if amount >= LARGEST_SHOWN:
        return "NUMBER"
    power = 10 ** max(0, math.ceil(math.log10(max(1, amount))) - 1)
    return str(math.ceil(amount / power) * power)
