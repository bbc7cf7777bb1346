"""Second moments of what each Conv reads, from sampled windows: exact sums of integers, independent of any order."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["MOST_IMAGES", "ROWS", "WINDOWS_PER_ROW", "ConvInput", "Moments", "Prepare", "Sampler"]

# Measured on wrn-16-2: the logits' error with 4 to 32 windows for each row, and with blocks of 144 to 1152 rows,
# differs by less than it does between two choices of images.
ROWS = 144  # of a block: 16 channels of a 3x3 Conv compensate each other
WINDOWS_PER_ROW = 8
GOLDEN = 0.6180339887498949  # multiples of it, modulo 1, spread evenly (Weyl's sequence)
LARGEST = 127
FLUSHED = 512  # windows per product: 127**2 * 512 < 2**24, so that float32 sums of products of codes are exact
MOST_IMAGES = 100_000  # that are sampled: each gives one window at least, and int32 holds 2**31 / 127**2 = 133,000

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int8]
Prepare = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvInput:
    """How a Conv reads its input tensor, and how that becomes int8.

    Attributes:
        conv: the Conv's name.
        tensor: the tensor of the collected graph.
        channels: input channels of the Conv.
        kernel, pads, strides: the Conv's, as in ONNX: (rows, columns), (top, left, bottom, right).
        scale: the value of one of the codes -127..127.
        prepare: what happens to one image's tensor before the Conv pads it, float32 (C, H, W) -> (channels, H, W);
            None: nothing.
    """

    conv: str
    tensor: str
    channels: int
    kernel: tuple[int, int]
    pads: tuple[int, int, int, int]
    strides: tuple[int, int]
    scale: float
    prepare: Prepare | None = None

    @property
    def block_channels(self) -> int:
        """Input channels of a block: evenly many in each, at most ROWS rows."""
        most = max(1, ROWS // (self.kernel[0] * self.kernel[1]))
        return -(-self.channels // -(-self.channels // most))

    @property
    def blocks(self) -> int:
        """Blocks of the Conv's moments."""
        return -(-self.channels // self.block_channels)

    @property
    def rows(self) -> int:
        """Rows of a block: its channels times the kernel's taps."""
        return self.block_channels * self.kernel[0] * self.kernel[1]

    def windows(self, values: Floats, count: int, start: float) -> Floats:
        """What the Conv reads at up to `count` positions, (count, blocks, rows); `start` (0..1) chooses them.

        `values` are those of the tensor for one image, (C, H, W). Channels that fill up the last block are 0.
        """
        top, left, bottom, right = self.pads
        fill = self.blocks * self.block_channels - self.channels
        prepared = values if self.prepare is None else self.prepare(values)
        _, rows, columns = prepared.shape
        padded = np.zeros((self.channels + fill, rows + top + bottom, columns + left + right), dtype=np.float32)
        padded[: self.channels, top : top + rows, left : left + columns] = prepared
        views = np.lib.stride_tricks.sliding_window_view(padded, self.kernel, axis=(1, 2))
        views = views[:, :: self.strides[0], :: self.strides[1]]
        rows, columns = views.shape[1:3]
        positions = np.arange(rows * columns)
        if count < len(positions):
            positions = ((start + np.arange(count) * GOLDEN) % 1.0 * len(positions)).astype(np.intp)
        chosen = views[:, positions // columns, positions % columns].swapaxes(0, 1)
        return np.ascontiguousarray(chosen).reshape(len(positions), self.blocks, self.rows)

    def codes(self, windows: Floats) -> Codes:
        """The codes of windows."""
        codes: Codes = np.clip(np.rint(windows * np.float32(1.0 / self.scale)), -LARGEST, LARGEST).astype(np.int8)
        return codes


@dataclass(slots=True)
class Moments:
    """The sums of x x^T over windows x of codes, by Conv: int32 (blocks, rows, rows).

    All are integers, so that the sums are the same bit for bit in every order, on every number of threads.

    Args:
        inputs: the Convs' inputs.
        images: how many images there will be: each gives its share of WINDOWS_PER_ROW windows for each row. Of more
            than MOST_IMAGES, about that many are sampled.
    """

    inputs: tuple[ConvInput, ...]
    images: int
    sums: dict[str, npt.NDArray[np.int32]] = field(init=False)
    lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.sums = {each.conv: np.zeros((each.blocks, each.rows, each.rows), dtype=np.int32) for each in self.inputs}

    def share(self, conv_input: ConvInput) -> int:
        """Windows that one image gives."""
        return -(-WINDOWS_PER_ROW * conv_input.rows // self.images)

    def add(self, conv: str, windows: Codes) -> None:
        """Adds windows, (n, blocks, rows) with n at most FLUSHED."""
        blocks = windows.transpose(1, 0, 2).astype(np.float32)
        products = np.matmul(blocks.transpose(0, 2, 1), blocks).astype(np.int32)
        with self.lock:
            self.sums[conv] += products


class Sampler:
    """Takes the windows of one image after the other, for one thread; `flush` hands the last ones to the moments."""

    def __init__(self, moments: Moments) -> None:
        self.moments = moments
        self.waiting: dict[str, list[Codes]] = {each.conv: [] for each in moments.inputs}

    def observe(self, image: Floats, values: Mapping[str, Floats]) -> None:
        """Samples the tensors (1, C, H, W) of one image; the image alone decides the positions, and whether."""
        start = zlib.crc32(image.data) / 2.0**32 * max(1.0, self.moments.images / MOST_IMAGES)
        if start >= 1.0:
            return
        for each in self.moments.inputs:
            waiting = self.waiting[each.conv]
            windows = each.windows(values[each.tensor][0], self.moments.share(each), start)
            waiting.append(each.codes(windows))
            if sum(map(len, waiting)) >= FLUSHED // 2:
                self._add(each.conv)

    def flush(self) -> None:
        """Adds the windows that wait."""
        for conv in self.waiting:
            self._add(conv)

    def _add(self, conv: str) -> None:
        windows = self.waiting[conv]
        if windows:
            together = np.concatenate(windows)
            for start in range(0, len(together), FLUSHED):
                self.moments.add(conv, together[start : start + FLUSHED])
            windows.clear()
