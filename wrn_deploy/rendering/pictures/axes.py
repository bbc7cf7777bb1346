"""The axes of SVG pictures: values to pixels, round ticks, and the grid of accuracy; captions are the callers'."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Axis", "grid"]


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps `low`..`high` to the pixels `start`..`end`, in equal steps or, with `log`, in equal ratios."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value."""
        low, high, value = (math.log(n) if self.log else n for n in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values within the range: 1, 2 and 5 in every decade, more in a single one, or about six equal steps."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            factors: tuple[float, ...] = (1, 2, 5) if self.high / self.low < 1e3 else (1,)
            if self.high / self.low < 10:
                factors = (1, 1.5, 2, 3, 5, 7)
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


def grid(x_axis: Axis, y_axis: Axis) -> str:
    """The ticks of both axes and a line at each of accuracy's (`y_axis`, in per cent: never outside 0 to 100)."""
    left, right, bottom = x_axis.start, x_axis.end, y_axis.start
    parts = []
    for value, text in y_axis.labelled_ticks():
        if 0 <= value <= 100:
            y = y_axis.at(value)
            parts.append(f'<path class="grid" d="M{left} {y:.1f}H{right}"/>')
            parts.append(f'<text class="tick" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for value, text in x_axis.labelled_ticks():
        x = x_axis.at(value)
        parts.append(f'<path class="axis" d="M{x:.1f} {bottom}v5"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 19}" text-anchor="middle">{text}</text>')
    parts.append(f'<path class="axis" d="M{left} {bottom}H{right}"/>')
    return "".join(parts)
