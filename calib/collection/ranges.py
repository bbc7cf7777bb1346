"""What calibration keeps of each tensor: exact extremes and a histogram, independent of the images' order."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from wrn_deploy.calib.collection.table import TensorRange

__all__ = ["BINS", "Channels", "Histogram", "Part", "Range", "Threshold", "Unit", "split_of"]

# Between half and all of them lie below the largest value, since the range is a power of two.
BINS = 8192
SAMPLED = 2**18  # values of a tensor of one image: of a few larger ones of 224x224 a sample tells as much
CHUNK = 2**15  # values that are counted together: they and their bins stay in a core's cache

Channels = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """How a tensor's channels are multiplied by positive factors and then moved, float32 (C,) each."""

    factors: Channels
    moves: Channels

    def applied(self, values: Channels) -> Channels:
        """A tensor (1, C, H, W) in this unit."""
        scaled = values * self.factors.reshape(-1, 1, 1)
        if self.moves.any():
            scaled += self.moves.reshape(-1, 1, 1)
        return scaled


def split_of(image: Channels) -> int:
    """The split that an image belongs to, 0 or 1: about half of them each, by its pixels alone, not by its position."""
    return zlib.crc32(image.data) & 1


@dataclass(slots=True)
class Histogram:
    """Counts of |x| in BINS equal bins over 0 .. 2**exponent.

    The range grows by doubling, which merges neighbouring bins exactly, and scaling by a power of two is exact in
    floating point. So the counts are bit-identical for every order and batch size of the same values, and one pass is
    enough. The first range is the smallest whose scale is a finite float32; smaller values fall into the first bin.
    """

    exponent: int = -114
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))

    @property
    def width(self) -> float:
        """The width of a bin."""
        return 2.0**self.exponent / BINS

    def add(self, values: npt.NDArray[np.float32], largest: float) -> None:
        """Counts `values`, finite float32 of any shape; `largest` is their largest magnitude.

        Of more than SAMPLED values every third, fifth and so on is counted: an odd step meets all columns of an image.
        """
        if largest >= 2.0**self.exponent:
            self._double(int(np.frexp(largest)[1]) - self.exponent)
        scale = np.float32(BINS * 2.0**-self.exponent)
        flat = values.reshape(-1)[:: values.size // SAMPLED // 2 * 2 + 1]
        scaled = np.empty(min(CHUNK, flat.size), dtype=np.float32)
        bins = np.empty(scaled.size, dtype=np.intp)
        for start in range(0, flat.size, CHUNK):
            chunk = flat[start : start + CHUNK]
            np.multiply(chunk, scale, out=scaled[: chunk.size])
            np.abs(scaled[: chunk.size], out=scaled[: chunk.size])
            np.copyto(bins[: chunk.size], scaled[: chunk.size], casting="unsafe")
            # Faster than bincount, which searches the extremes first and makes a new array.
            np.add.at(self.counts, bins[: chunk.size], 1)

    def merged(self, other: Histogram) -> Histogram:
        """The histogram of the values of both: exactly what one pass over all of them would have given."""
        low, high = sorted((self, other), key=lambda histogram: histogram.exponent)
        both = Histogram(low.exponent, low.counts)
        both._double(high.exponent - low.exponent)
        both.counts = both.counts + high.counts
        return both

    def _double(self, times: int) -> None:
        for _ in range(min(times, BINS.bit_length())):
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([merged, np.zeros(BINS // 2, dtype=np.int64)])
        self.exponent += times


# A method with its options: (histogram, amax) -> the magnitude that int8's 127 stands for.
Threshold = Callable[[Histogram | None, float], float]


@dataclass(slots=True, kw_only=True)
class Part:
    """What one tensor's values were over some of the images.

    `lows` and `highs` are the extremes of each channel, float32 (C,), and (1,) infinities before the first image;
    `values` counts the values; `histogram` is None if the method needs none.
    """

    histogram: Histogram | None
    lows: Channels = field(default_factory=lambda: np.full(1, np.inf, dtype=np.float32))
    highs: Channels = field(default_factory=lambda: np.full(1, -np.inf, dtype=np.float32))
    values: int = 0

    @property
    def low(self) -> float:
        """The smallest value; 0 behind a ReLU."""
        return float(self.lows.min())

    @property
    def high(self) -> float:
        """The largest value."""
        return float(self.highs.max())

    @property
    def amax(self) -> float:
        """The largest magnitude; 0 without values."""
        return max(abs(self.low), abs(self.high)) if self.values else 0.0

    @property
    def channels(self) -> Channels:
        """The largest magnitude of each channel, float32 (C,)."""
        magnitudes: Channels = np.maximum(np.abs(self.lows), np.abs(self.highs))
        return magnitudes

    def observe(self, lows: Channels, highs: Channels, size: int, values: npt.NDArray[np.float32] | None) -> None:
        """Adds `size` finite values: the extremes of each channel, and the values if there is a histogram."""
        self.lows, self.highs = np.minimum(self.lows, lows), np.maximum(self.highs, highs)
        self.values += size
        if self.histogram is not None and values is not None:
            self.histogram.add(values, max(-float(lows.min()), float(highs.max())))

    def merged(self, other: Part) -> Part:
        """What one pass over the images of both would have given, bit for bit."""
        histogram = self.histogram
        if histogram is not None and other.histogram is not None:
            histogram = histogram.merged(other.histogram)
        lows, highs = np.minimum(self.lows, other.lows), np.maximum(self.highs, other.highs)
        return Part(histogram=histogram, lows=lows, highs=highs, values=self.values + other.values)

    def fraction_above(self, threshold: float) -> float:
        """The fraction of values, 0..1, in the bins above `threshold`; 0 if that is `amax` or more."""
        if self.histogram is None or threshold >= self.amax:
            return 0.0
        counts, first = self.histogram.counts, math.ceil(threshold / self.histogram.width)
        return float(counts[first:].sum() / max(1, counts.sum()))

    def clipped(self, threshold: Threshold) -> TensorRange:
        """Returns the entry of the calibration table, with the threshold of a method."""
        amax = threshold(self.histogram, self.amax)
        return TensorRange(low=self.low, high=self.high, amax=amax, clipped=self.fraction_above(amax))


@dataclass(frozen=True, slots=True)
class Range:
    """What one tensor's values were, for each split of the images: their difference shows how settled a threshold is.

    `split_of` gives the split of an image. One of the two may be empty.
    """

    splits: tuple[Part, Part]

    @property
    def whole(self) -> Part:
        """What the values of all images were."""
        return self.splits[0].merged(self.splits[1])

    def merged(self, other: Range) -> Range:
        """What one pass over the images of both would have given, bit for bit."""
        mine, others = self.splits, other.splits
        return Range((mine[0].merged(others[0]), mine[1].merged(others[1])))

    def disagreement(self, threshold: Threshold) -> float | None:
        """The difference of the splits' thresholds, as a fraction of the larger one; None if a split has no image."""
        if not all(split.values for split in self.splits):
            return None
        low, high = sorted(threshold(split.histogram, split.amax) for split in self.splits)
        return (high - low) / high if high > 0.0 else 0.0
