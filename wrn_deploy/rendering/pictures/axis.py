"""The axes of SVG pictures: values to pixels, round ticks, and the lines and numbers drawn at them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

from markupsafe import Markup

from wrn_deploy.rendering.pictures.svg import path, text

__all__ = ["Axis", "rules", "scale"]

APART = 15.0  # pixels between the numbers of a vertical axis, at least
DIGIT = 6.8  # pixels: an upper bound for a digit of the 12 px ticks

Ticks = Sequence[tuple[float, str]]


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps `low`..`high` to the pixels `start`..`end`, in equal steps or, with `log`, in equal ratios."""

    low: float
    high: float
    start: float
    end: float
    _: KW_ONLY
    log: bool = False

    @classmethod
    def around(cls, low: float, high: float, start: float, end: float, *, log_from: float) -> Axis:
        """Holds `low`..`high` with room at both ends; logarithmic if `high` is more than `log_from` times `low`."""
        if high > log_from * low > 0:
            return cls(low / 1.15, high * 1.15, start, end, log=True)
        room = (high - low) * 0.08 or high * 0.1 or 1.0
        return cls(low - room, high + room, start, end)

    @classmethod
    def of_percents(cls, values: Sequence[float], start: float, end: float, *, room: float) -> Axis:
        """Holds the values, and at least one point, so that a single image never looks like a gulf."""
        half, middle = max((max(values) - min(values)) * room, 0.5), (max(values) + min(values)) / 2
        return cls(middle - half, middle + half, start, end)

    def at(self, value: float) -> float:
        """The pixel of a value."""
        low, high, value = (math.log(n) if self.log else n for n in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values within the range: 1, 2 and 5 in every decade, more in a single one, or about six equal steps."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            span = self.high / self.low
            factors = (1, 1.5, 2, 3, 5, 7) if span < 10 else (1, 2, 5) if span < 1e3 else (1,)
            values = [float(f"{factor * 10.0**decade:.2g}") for decade in decades for factor in factors]
            return [value for value in values if self.low <= value <= self.high]
        rough = (self.high - self.low) / 6
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit >= rough * 0.999)
        first, last = math.ceil(self.low / step - 1e-6), math.floor(self.high / step + 1e-6)
        return [round(index * step, 9) for index in range(first, last + 1)]

    def labelled_ticks(self) -> list[tuple[float, str]]:
        """The ticks with their texts, on an axis of equal steps all with the same decimals."""
        ticks = self.ticks()
        decimals = max((len(f"{tick:g}".partition(".")[2]) for tick in ticks), default=0)
        return [(tick, f"{tick:g}" if self.log else f"{tick:.{decimals}f}") for tick in ticks]

    def caption(self, words: str) -> str:
        """The words, with the kind of scale if it is logarithmic."""
        return f"{words}, log scale" if self.log else words


def rules(axis: Axis, left: float, right: float, limits: tuple[float, float] = (-math.inf, math.inf)) -> list[Markup]:
    """A line from `left` to `right` at each tick of a vertical axis within `limits`, with its number at the left."""
    ticks = [tick for tick in axis.labelled_ticks() if limits[0] <= tick[0] <= limits[1]]
    while len(ticks) > 2 and min(axis.at(a) - axis.at(b) for (a, _), (b, _) in itertools.pairwise(ticks)) < APART:
        powers = [tick for tick in ticks if axis.log and math.log10(tick[0]).is_integer()]
        ticks = powers if 1 < len(powers) < len(ticks) else ticks[::2]
    parts = []
    for value, words in ticks:
        y = axis.at(value)
        parts += [path("grid", f"M{left:g} {y:.1f}H{right:g}"), text(left - 8, y + 4, words, anchor="end")]
    return parts


def scale(
    axis: Axis, bottom: float, *, width: float, ticks: Ticks | None = None, top: float | None = None
) -> list[Markup]:
    """The base line of a horizontal axis at the height `bottom`, with its ticks, and as many of their numbers as fit.

    The numbers stay within the `width` of the picture. `ticks` are values and texts (None: the axis's own); each is a
    line from `top` to the base line (None: a short one below it).
    """
    parts, taken = [], -math.inf
    below = 19 if top is None else 16
    for value, words in axis.labelled_ticks() if ticks is None else ticks:
        x, half = axis.at(value), len(words) * DIGIT / 2
        start = f"M{x:.1f} {bottom if top is None else top:g}"
        parts.append(path("axis", f"{start}v5") if top is None else path("grid", f"{start}V{bottom:g}"))
        inside = min(max(x, half), width - half)
        if words and inside - half > taken:
            parts.append(text(inside, bottom + below, words, anchor="middle"))
            taken = inside + half + DIGIT
    return [*parts, path("axis", f"M{axis.start:g} {bottom:g}H{axis.end:g}")]
