"""Decodes each encoded image once for several readings of it: keeps its pixels; numpy only."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from wrn_deploy.data import Item
from wrn_deploy.data.decoding.decode import Encoded
from wrn_deploy.data.decoding.decoders import Decoders, Outcome
from wrn_deploy.spec import Preprocessing

__all__ = ["KeptDecoders"]

WINDOW = 256  # items that are looked up before the unknown ones among them are decoded


class KeptDecoders:
    """Decoders that decode no image again that they have kept; the pixels are the same either way, to the last bit.

    Readings of several parts of a source, in any order, and of sources that share files can share them. An image is
    known by its file and its place in it. Images that are arrays already are not kept, and neither are errors.

    Args:
        decoders: those that decode.
        room: how many images to keep: the first that are decoded.
    """

    def __init__(self, decoders: Decoders, room: int) -> None:
        self.room = room
        self._decoders = decoders
        self._kept: dict[str | None, npt.NDArray[np.uint8]] = {}

    def fit(self, items: Iterable[Item], preprocessing: Preprocessing) -> Iterator[tuple[Item, Outcome]]:
        """Yields each item with its pixels, or with its error, and raises, as `Decoders.fit` does."""
        waiting = iter(items)
        failed: Exception | None = None
        while failed is None:
            window: list[Item] = []
            try:
                window.extend(itertools.islice(waiting, WINDOW))
            except Exception as error:  # noqa: BLE001 (raised again at its place in the order)
                failed = error
            if not window:
                break
            unknown = [item for item in window if _place(item) not in self._kept]
            decoded = self._decoders.fit(unknown, preprocessing) if unknown else iter(())
            for item in window:
                kept = self._kept.get(_place(item))
                yield (item, kept) if kept is not None else self._keep(*next(decoded))
        if failed is not None:
            raise failed

    def _keep(self, item: Item, outcome: Outcome) -> tuple[Item, Outcome]:
        place = _place(item)
        if place is not None and not isinstance(outcome, Exception) and len(self._kept) < self.room:
            self._kept[place] = outcome
        return item, outcome


def _place(item: Item) -> str | None:
    """The path of an encoded image, and its place in that file; None for an array."""
    return item.load.name if isinstance(item.load, Encoded) else None
