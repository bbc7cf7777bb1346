"""Exact sums of floating-point numbers: the same for every order and grouping, so that the sums of shards merge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["ExactSum"]

LOWEST = -1074  # every finite float64 is a multiple of 2**LOWEST
BITS, HALF = 53, 27  # of a float64's mantissa, and of its lower part
PIECE = 2**24  # values that are added together: the sum of that many 27-bit integers is exact in float64


@dataclass(slots=True)
class ExactSum:
    """The sum of finite, non-negative float64 values.

    Args:
        units: the sum in units of 2**-1074.
        count: how many values there are.
    """

    units: int = 0
    count: int = 0

    def add(self, values: npt.NDArray[np.float64]) -> None:
        """Adds values of any shape.

        A value is m * 2**e with an integer m of 53 bits. The upper and lower parts of m are summed for each e, which
        float64 does exactly, and then shifted to the common unit.
        """
        flat = values.reshape(-1)
        self.count += flat.size
        for start in range(0, flat.size, PIECE):
            fractions, exponents = np.frexp(flat[start : start + PIECE])
            whole = np.ldexp(fractions, BITS).astype(np.int64)
            places = np.maximum(exponents.astype(np.int64) - BITS - LOWEST, 0)
            # Below 2**-1021 a value has fewer bits: those that the shift to the lowest place takes away are 0.
            whole >>= np.maximum(LOWEST - (exponents.astype(np.int64) - BITS), 0)
            for part, shift in ((whole >> HALF, HALF), (whole & (1 << HALF) - 1, 0)):
                sums = np.bincount(places, weights=part)
                for place in np.flatnonzero(sums):
                    self.units += int(sums[place]) << (int(place) + shift)

    def merged(self, other: ExactSum) -> ExactSum:
        """The sum of the values of both."""
        return ExactSum(self.units + other.units, self.count + other.count)

    @property
    def mean(self) -> float:
        """The mean, rounded once; needs a value."""
        return self.units / (self.count << -LOWEST)
