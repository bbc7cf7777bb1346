"""What calibration keeps of each tensor: exact minimum and maximum, and a histogram that never depends on the order."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from wrn_deploy.errors import DeployError

__all__ = ["BINS", "Histogram", "Range"]

# Between half and all of them lie below the largest value, since the range is a power of two.
BINS = 8192


@dataclass(slots=True)
class Histogram:
    """Counts of |x| in BINS equal bins over 0 .. 2**exponent.

    The range grows by doubling, which merges neighbouring bins exactly, and scaling by a power of two is exact in
    floating point: so the counts are the same for every order and every batch size of the same values, bit for bit, and
    one pass is enough. It starts so small that the scale is still a finite float32: values below that are in the first
    bin.
    """

    exponent: int = -114
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))

    @property
    def width(self) -> float:
        """The width of a bin."""
        return 2.0**self.exponent / BINS

    def add(self, values: npt.NDArray[np.float32], largest: float) -> None:
        """Counts `values`, finite float32 of any shape; `largest` is their largest magnitude."""
        if largest >= 2.0**self.exponent:
            self._double(int(np.frexp(largest)[1]) - self.exponent)
        scaled = np.abs(values.reshape(-1))
        np.multiply(scaled, np.float32(BINS * 2.0**-self.exponent), out=scaled)
        self.counts += np.bincount(scaled.astype(np.int32), minlength=BINS)

    def _double(self, times: int) -> None:
        for _ in range(min(times, BINS.bit_length())):
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([merged, np.zeros(BINS // 2, dtype=np.int64)])
        self.exponent += times

    def share_above(self, threshold: float) -> float:
        """The share of values, 0..1, in the bins above `threshold` (to a bin's width)."""
        first = int(np.ceil(threshold / self.width))
        return float(self.counts[first:].sum() / max(1, self.counts.sum()))


@dataclass(slots=True)
class Range:
    """Minimum, maximum and, where it was asked for, the histogram of one tensor."""

    histogram: Histogram | None
    low: float = np.inf
    high: float = -np.inf
    values: int = 0

    @property
    def amax(self) -> float:
        """The largest magnitude."""
        return max(abs(self.low), abs(self.high))

    def observe(self, tensor: str, values: npt.NDArray[np.float32]) -> None:
        """Takes in a batch of the tensor's values.

        Raises:
            DeployError: they are not all finite.
        """
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise DeployError(f"{tensor} has NaN or infinite values during calibration: expected finite activations")
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.values += values.size
        if self.histogram is not None:
            self.histogram.add(values, max(abs(low), abs(high)))

    def share_above(self, threshold: float) -> float:
        """The share of values whose magnitude is above `threshold`; 0 where that is `amax` or more."""
        if self.histogram is None or threshold >= self.amax:
            return 0.0
        return self.histogram.share_above(threshold)
