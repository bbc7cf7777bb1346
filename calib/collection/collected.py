"""What calibration keeps of some of the images, as arrays and back; what several blocks gave merges exactly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce

import numpy as np
import numpy.typing as npt

from wrn_deploy.calib.collection.ranges import BINS, Histogram, Part, Range
from wrn_deploy.calib.collection.table import Equalization
from wrn_deploy.data.containers.array_file import Array, check_shape
from wrn_deploy.errors import DamagedFile

__all__ = ["Collected", "Content", "Survey", "merge_collected"]

EXPONENTS = range(-114, 129)  # of histograms of finite float32 values
DIGEST_BYTES = 32

Sums = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What the first images decide for all images: it is the same in every block.

    Attributes:
        factors, shifts: those of the equalization.
        scales: of the codes whose moments are taken, by tensor.
        exact_input: whether the first Conv of the graph for TensorRT gets the pixels' own codes.
    """

    factors: Mapping[str, Sequence[float]]
    shifts: Mapping[str, Sequence[float]]
    scales: Mapping[str, float]
    exact_input: bool

    def __post_init__(self) -> None:
        if not self.equalization.possible or not all(scale > 0.0 for scale in self.scales.values()):
            raise DamagedFile("it has an impossible equalization or scale: run the shard again")

    @property
    def equalization(self) -> Equalization:
        """The factors and shifts, as the table has them."""
        return Equalization(
            factors={name: list(values) for name, values in self.factors.items()},
            shifts={name: list(values) for name, values in self.shifts.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What the arrays of `Collected.to_arrays` are about.

    Attributes:
        tensors: the names of the ranges, in their order.
        moments: the Convs, in their order, with the number of blocks and of rows.
        histograms: whether there are histograms.
    """

    tensors: tuple[str, ...]
    moments: Mapping[str, tuple[int, int]]
    histograms: bool

    def __post_init__(self) -> None:
        if any(min(sizes) < 1 for sizes in self.moments.values()) or len(set(self.tensors)) < len(self.tensors):
            raise DamagedFile("its tensors or moments are impossible: run the shard again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What some of the images gave.

    Attributes:
        survey: what the first images decided.
        ranges: by tensor, as they are in the equalized graph.
        moments: by Conv, int32 (blocks, rows, rows); empty if rounding needs none.
        digests: of the images, in their order.
        pixels: of the first images, uint8 (N, height, width, 3), which graphs are compared on.
        answers: fp32's top classes of these.
    """

    survey: Survey
    ranges: Mapping[str, Range]
    moments: Mapping[str, Sums]
    digests: tuple[bytes, ...]
    pixels: npt.NDArray[np.uint8]
    answers: tuple[int, ...]

    @property
    def content(self) -> Content:
        """What `to_arrays` has."""
        return Content(
            tensors=tuple(self.ranges),
            moments={conv: (sums.shape[0], sums.shape[1]) for conv, sums in self.moments.items()},
            histograms=any(part.histogram is not None for found in self.ranges.values() for part in found.splits),
        )

    def to_arrays(self) -> dict[str, Array]:
        """All of it as arrays of numbers; the first axis of those of the ranges is the split."""
        splits = [[found.splits[split] for found in self.ranges.values()] for split in (0, 1)]
        channels = [max(len(part.lows) for part in found.splits) for found in self.ranges.values()]
        arrays: dict[str, Array] = {
            "channels": np.array(channels, dtype=np.int64),
            "values": np.array([[part.values for part in parts] for parts in splits], dtype=np.int64),
            "lows": np.stack([_joined([part.lows for part in parts], channels) for parts in splits]),
            "highs": np.stack([_joined([part.highs for part in parts], channels) for parts in splits]),
            "digests": np.frombuffer(b"".join(self.digests), dtype=np.uint8).reshape(-1, DIGEST_BYTES),
            "pixels": self.pixels,
            "answers": np.array(self.answers, dtype=np.int64),
        }
        histograms = [[part.histogram for part in parts if part.histogram is not None] for parts in splits]
        if all(histograms):
            arrays["exponents"] = np.array([[each.exponent for each in split] for split in histograms], dtype=np.int64)
            arrays["counts"] = np.stack([np.stack([each.counts for each in split]) for split in histograms])
        sums = [each.reshape(-1) for each in self.moments.values()]
        arrays["moments"] = np.concatenate(sums) if sums else np.zeros(0, dtype=np.int32)
        return arrays

    @classmethod
    def from_arrays(cls, survey: Survey, content: Content, arrays: Mapping[str, Array]) -> Collected:
        """What `to_arrays` made arrays of.

        Raises:
            DamagedFile: an array is missing, of another type or shape, or has impossible values.
        """
        pixels = check_shape(arrays, "pixels", np.uint8, (None, None, None, 3))
        answers = check_shape(arrays, "answers", np.int64, (len(pixels),))
        digests = check_shape(arrays, "digests", np.uint8, (None, DIGEST_BYTES))
        if not len(pixels) <= len(digests) or not len(digests):
            raise DamagedFile(f"it has {len(digests)} images, and the pixels of {len(pixels)} of them")
        return cls(
            survey=survey,
            ranges=dict(zip(content.tensors, _read_ranges(content, arrays), strict=True)),
            moments=_read_moments(content.moments, arrays),
            digests=tuple(digest.tobytes() for digest in digests),
            pixels=pixels,
            answers=tuple(map(int, answers)),
        )


def merge_collected(blocks: Iterable[Collected], compared: int) -> Collected:
    """What one pass over the images of all blocks would have given, bit for bit; `blocks` are in the images' order.

    All but `pixels` and `answers`, of which the first `compared` are kept, is the same in any order. Holds one block at
    a time beside the result.

    Raises:
        DamagedFile: the blocks have another survey, other tensors or Convs, or their moments are too large.
    """
    return reduce(partial(_merged, compared), blocks)


def _merged(compared: int, one: Collected, other: Collected) -> Collected:
    if one.survey != other.survey:
        raise DamagedFile(
            "the first images gave other values in some shards: expected the same data under its name, and machines of "
            "one type; run the shards again"
        )
    if one.content != other.content:
        raise DamagedFile("the shards have the ranges of other tensors: expected the same in each; run them again")
    return Collected(
        survey=one.survey,
        ranges={name: found.merged(other.ranges[name]) for name, found in one.ranges.items()},
        moments={conv: _summed(sums, other.moments[conv]) for conv, sums in one.moments.items()},
        digests=one.digests + other.digests,
        pixels=np.concatenate([one.pixels, other.pixels])[:compared],
        answers=(one.answers + other.answers)[:compared],
    )


def _summed(one: Sums, other: Sums) -> Sums:
    total = one.astype(np.int64) + other
    most = np.iinfo(np.int32).max
    if (np.abs(total) > most).any():
        raise DamagedFile(f"moments of more than {most:,}: expected sums of at most that; run the shards again")
    return total.astype(np.int32)


def _joined(extremes: Sequence[npt.NDArray[np.float32]], channels: Sequence[int]) -> npt.NDArray[np.float32]:
    """One after the other; those of a split without images are infinities for each channel."""
    return np.concatenate([np.broadcast_to(values, count) for values, count in zip(extremes, channels, strict=True)])


def _read_ranges(content: Content, arrays: Mapping[str, Array]) -> Iterator[Range]:
    count = len(content.tensors)
    channels = check_shape(arrays, "channels", np.int64, (count,))
    if (channels < 1).any() or (channels > np.iinfo(np.int32).max).any():
        raise DamagedFile("a tensor has an impossible number of channels")
    total = int(channels.sum())
    lows, highs = (check_shape(arrays, name, np.float32, (2, total)) for name in ("lows", "highs"))
    values = check_shape(arrays, "values", np.int64, (2, count))
    seen = np.repeat(values > 0, channels, axis=1)
    finite = np.isfinite(lows) & np.isfinite(highs) & (lows <= highs)
    if (values < 0).any() or not np.where(seen, finite, (lows == np.inf) & (highs == -np.inf)).all():
        raise DamagedFile("a tensor has impossible extremes")
    histograms = _read_histograms(count, arrays) if content.histograms else [[None] * count] * 2
    ends = np.cumsum(channels)
    for index, (start, end) in enumerate(zip(ends - channels, ends, strict=True)):
        first, second = (
            Part(
                histogram=histograms[split][index],
                lows=lows[split, start:end],
                highs=highs[split, start:end],
                values=int(values[split, index]),
            )
            for split in (0, 1)
        )
        yield Range((first, second))


def _read_histograms(count: int, arrays: Mapping[str, Array]) -> list[list[Histogram | None]]:
    exponents = check_shape(arrays, "exponents", np.int64, (2, count))
    counts = check_shape(arrays, "counts", np.int64, (2, count, BINS))
    if not np.isin(exponents, np.array(EXPONENTS)).all() or (counts < 0).any() or (counts > 2**48).any():
        raise DamagedFile("a histogram has an impossible range or count")
    return [
        [Histogram(int(exponents[split, index]), counts[split, index]) for index in range(count)] for split in (0, 1)
    ]


def _read_moments(sizes: Mapping[str, tuple[int, int]], arrays: Mapping[str, Array]) -> dict[str, Sums]:
    total = sum(blocks * rows * rows for blocks, rows in sizes.values())
    sums, start, found = check_shape(arrays, "moments", np.int32, (total,)), 0, dict[str, Sums]()
    for conv, (blocks, rows) in sizes.items():
        end = start + blocks * rows * rows
        found[conv] = sums[start:end].reshape(blocks, rows, rows)
        start = end
    return found
