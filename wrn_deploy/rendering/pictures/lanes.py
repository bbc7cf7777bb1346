"""Pictures with a lane for each candidate: its name, what is drawn of it along one axis, and its value in words."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from wrn_deploy.rendering.pictures.axis import Axis, scale
from wrn_deploy.rendering.pictures.svg import WIDE, short, text

__all__ = ["Lanes"]

NAMES, EDGE, FOOT = 226.0, 8.0, 42.0  # pixels: for names on a desk, at the sides, and under the lanes


@dataclass(frozen=True, slots=True)
class Lanes:
    """Where the lanes lie in a picture of `width` pixels.

    On a desk, name and value stand left and right of what is drawn; on a phone above it.
    """

    width: float
    count: int
    top: float = 8.0
    values: float = 150.0

    @property
    def wide(self) -> bool:
        """Whether names and values have columns of their own."""
        return self.width >= WIDE

    @property
    def left(self) -> float:
        """Where the axis begins."""
        return NAMES if self.wide else EDGE

    @property
    def right(self) -> float:
        """Where the axis ends."""
        return self.width - self.values - 2 * EDGE if self.wide else self.width - EDGE

    @property
    def bottom(self) -> float:
        """Below the last lane."""
        return self.top + self.count * self._step

    @property
    def height(self) -> float:
        """Of the whole picture, with ticks and caption."""
        return self.bottom + FOOT

    def middle(self, index: int) -> float:
        """The height around which a lane's data is drawn, within 10 pixels."""
        return self.top + index * self._step + (self._step / 2 if self.wide else 30)

    def label(self, index: int, name: str, value: str) -> list[Markup]:
        """Name and value of a lane."""
        y = self.middle(index) + 4 if self.wide else self.top + index * self._step + 14
        left = 0.0 if self.wide else EDGE
        return [text(left, y, short(name), "label"), text(self.width - EDGE, y, value, "tick value", "end")]

    def grid(self, axis: Axis, caption: str) -> list[Markup]:
        """A line at each tick, as many numbers as there is room for, and the caption of the axis."""
        words = text(self.right, self.bottom + 35, axis.caption(caption), anchor="end")
        return [*scale(axis, self.bottom, width=self.width, top=self.top), words]

    @property
    def _step(self) -> float:
        return 30.0 if self.wide else 46.0
