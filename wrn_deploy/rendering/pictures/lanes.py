"""Pictures with a lane for each candidate: its name, what is drawn of it along one axis, and its value in words."""

from __future__ import annotations

from markupsafe import Markup

from wrn_deploy.rendering.pictures.axis import Axis, scale
from wrn_deploy.rendering.pictures.svg import WIDE, short, text

__all__ = ["Lanes"]

NAMES, EDGE, FOOT = 226.0, 8.0, 42.0  # pixels: for names on a desk, at the sides, and under the lanes


class Lanes:
    """Where `count` lanes lie in a picture of `width` pixels: from `top` to `bottom`, the axis from `left` to `right`.

    On a desk, name and value stand left and right of what is drawn, with `values` pixels for the value; on a phone
    above it. `height` is that of the whole picture, with ticks and caption.
    """

    def __init__(self, width: float, count: int, *, top: float = 8.0, values: float = 150.0) -> None:
        self.width, self.count, self.top = width, count, top
        self.wide = width >= WIDE
        self.left = NAMES if self.wide else EDGE
        self.right = width - values - 2 * EDGE if self.wide else width - EDGE
        self._step = 30.0 if self.wide else 46.0
        self.bottom = top + count * self._step
        self.height = self.bottom + FOOT

    def middle(self, index: int) -> float:
        """The height around which a lane's data is drawn, within 10 pixels."""
        return self.top + index * self._step + (self._step / 2 if self.wide else 30)

    def label(self, index: int, name: str, value: str) -> list[Markup]:
        """Name and value of a lane."""
        y = self.middle(index) + (4 if self.wide else -16)
        left = 0.0 if self.wide else EDGE
        return [text(left, y, short(name), "label"), text(self.width - EDGE, y, value, "tick value", "end")]

    def grid(self, axis: Axis, caption: str) -> list[Markup]:
        """A line at each tick, as many numbers as fit, and the caption of the axis."""
        words = text(self.right, self.bottom + 35, axis.caption(caption), anchor="end")
        return [*scale(axis, self.bottom, width=self.width, top=self.top), words]
