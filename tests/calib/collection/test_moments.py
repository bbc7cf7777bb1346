"""Moments of what Convs read: the plain sums over all windows, and the same bits for every order and thread."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from wrn_deploy.calib.collection import moments as module
from wrn_deploy.calib.collection.collect import ObservedGraph, collect_ranges
from wrn_deploy.calib.collection.moments import (
    FLUSHED,
    LARGEST,
    MOST_IMAGES,
    ROWS,
    WINDOWS_PER_ROW,
    ConvInput,
    Moments,
    Sampler,
)
from wrn_deploy.calib.rounding.inputs import find_conv_inputs

Images = npt.NDArray[np.float32]
Sums = npt.NDArray[np.int64]


def conv_input(
    *,
    channels: int = 5,
    kernel: tuple[int, int] = (3, 3),
    pads: tuple[int, int, int, int] = (1, 1, 1, 1),
    strides: tuple[int, int] = (1, 1),
    scale: float = 0.02,
) -> ConvInput:
    return ConvInput(conv="conv", tensor="x", channels=channels, kernel=kernel, pads=pads, strides=strides, scale=scale)


KINDS = {
    "3x3": conv_input(),
    "stride": conv_input(strides=(2, 2)),
    "1x1": conv_input(channels=6, kernel=(1, 1), pads=(0, 0, 0, 0)),
    "1x1 with a stride": conv_input(channels=6, kernel=(1, 1), pads=(0, 0, 0, 0), strides=(2, 2)),
    "uneven": conv_input(kernel=(3, 2), pads=(0, 2, 1, 0), strides=(1, 3)),
    "one block": conv_input(channels=16),
    "filled up": conv_input(channels=17),
    "1x1, filled up": conv_input(channels=289, kernel=(1, 1), pads=(0, 0, 0, 0)),
    "a large kernel": conv_input(channels=3, kernel=(7, 7), pads=(3, 3, 3, 3), strides=(2, 2)),
    "clips": conv_input(scale=0.005),
}


def tensors(shape: ConvInput, count: int, size: tuple[int, int] = (9, 8)) -> Images:
    """Some images' tensors, (count, 1, C, H, W): each is its own image."""
    dice = np.random.default_rng(shape.channels)
    return dice.normal(size=(count, 1, shape.channels, *size)).astype(np.float32)


def sampled(moments: Moments, images: Images) -> Sums:
    sampler = Sampler(moments)
    for image in images:
        sampler.observe(image, {"x": image})
    sampler.flush()
    return moments.sums["conv"].astype(np.int64)


def all_windows(shape: ConvInput, image: Images) -> npt.NDArray[np.float64]:
    """The codes at every position, (positions, C, kh, kw), one after the other."""
    codes = np.clip(np.rint(image[0].astype(np.float64) / shape.scale), -127, 127)
    top, left, bottom, right = shape.pads
    padded = np.pad(codes, ((0, 0), (top, bottom), (left, right)))
    (rows, columns), (down, across) = shape.kernel, shape.strides
    found = [
        padded[:, y : y + rows, x : x + columns]
        for y in range(0, padded.shape[1] - rows + 1, down)
        for x in range(0, padded.shape[2] - columns + 1, across)
    ]
    return np.stack(found)


@pytest.mark.parametrize("kind", KINDS)
def test_the_sums_are_those_over_all_windows(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOWS_PER_ROW", 72)  # more than there are positions
    shape = KINDS[kind]
    images = tensors(shape, 3)
    moments = Moments((shape,), 1)
    windows = np.concatenate([all_windows(shape, image) for image in images])
    assert moments.share(shape) >= len(windows) / len(images)
    found = sampled(moments, images)
    assert found.shape == (shape.blocks, shape.rows, shape.rows)
    for block in range(shape.blocks):
        first = block * shape.block_channels
        part = windows[:, first : first + shape.block_channels].reshape(len(windows), -1)
        wanted = np.zeros(found.shape[1:])
        wanted[: part.shape[1], : part.shape[1]] = part.T @ part
        np.testing.assert_array_equal(found[block], wanted)


@pytest.mark.parametrize(
    ("kind", "block_channels", "blocks"),
    [("3x3", 5, 1), ("one block", 16, 1), ("filled up", 9, 2), ("1x1, filled up", 97, 3), ("a large kernel", 2, 2)],
)
def test_blocks_have_evenly_many_channels(kind: str, block_channels: int, blocks: int) -> None:
    shape = KINDS[kind]
    assert (shape.block_channels, shape.blocks) == (block_channels, blocks)
    assert shape.rows <= ROWS


def test_a_kernel_of_more_taps_than_a_block_has_rows_gets_one_channel_each() -> None:
    shape = conv_input(channels=2, kernel=(13, 13))
    assert (shape.block_channels, shape.blocks, shape.rows) == (1, 2, 169)


def test_what_prepares_a_tensor_comes_before_the_padding() -> None:
    """As the constant channel of the exact input: 1 inside the image, 0 in the padding."""

    def prepare(values: Images) -> Images:
        return np.concatenate([values, np.full((1, *values.shape[1:]), 5.0, dtype=np.float32)])

    shape = ConvInput(
        conv="conv", tensor="x", channels=2, kernel=(3, 3), pads=(1, 1, 1, 1), strides=(1, 1), scale=1.0,
        prepare=prepare,
    )  # fmt: skip
    windows = shape.codes(shape.windows(np.full((1, 4, 4), 3.0, dtype=np.float32), 100, 0.0)).reshape(16, 2, 3, 3)
    assert windows[0].tolist() == [
        [[0, 0, 0], [0, 3, 3], [0, 3, 3]],
        [[0, 0, 0], [0, 5, 5], [0, 5, 5]],
    ]


@pytest.mark.parametrize("images", [1, 7, 100, 5000])
@pytest.mark.parametrize("kind", ["3x3", "1x1", "filled up"])
def test_all_images_together_give_some_windows_for_each_row(kind: str, images: int) -> None:
    shape = KINDS[kind]
    share = Moments((shape,), images).share(shape)
    wanted = WINDOWS_PER_ROW * shape.rows
    assert share >= 1
    assert wanted <= share * images < wanted + images


def test_a_share_is_that_many_different_positions() -> None:
    """Those of one image lie apart, and those of other images elsewhere."""
    shape = conv_input(channels=1, kernel=(1, 1), pads=(0, 0, 0, 0), scale=1.0)
    numbered = np.arange(100, dtype=np.float32).reshape(1, 10, 10)
    chosen = [set(shape.windows(numbered, 12, start).ravel().tolist()) for start in (0.1, 0.13, 0.6)]
    assert [len(positions) for positions in chosen] == [12, 12, 12]
    assert not set.intersection(*chosen)
    for positions in chosen:
        assert np.diff(sorted(positions)).max() <= 20


@pytest.mark.parametrize("start", [0.0, 0.5, 1.0 - 2.0**-32])
@pytest.mark.parametrize("size", [1, 3, 8, 224])
def test_positions_are_inside_for_every_start(start: float, size: int) -> None:
    shape = conv_input(channels=1)
    windows = shape.windows(np.ones((1, size, size), dtype=np.float32), 50, start)
    assert windows.shape == (min(50, size * size), 1, 9)


def test_float32_and_int32_hold_the_largest_sums_exactly() -> None:
    assert FLUSHED * LARGEST**2 < 2**24
    assert (MOST_IMAGES * 1.1 + WINDOWS_PER_ROW * ROWS) * LARGEST**2 < 2**31
    shape = conv_input(channels=16)
    windows = np.full((FLUSHED, 1, shape.rows), LARGEST, dtype=np.int8)
    windows[::2, :, 1::2] = -LARGEST
    windows[0, 0, :2] = 1, 126
    moments = Moments((shape,), 1)
    for _ in range(3):
        moments.add("conv", windows)
    wide = windows[:, 0].astype(np.int64)
    np.testing.assert_array_equal(moments.sums["conv"][0], 3 * wide.T @ wide)


@pytest.mark.parametrize("kind", ["3x3", "stride", "1x1", "filled up"])
def test_neither_order_nor_threads_change_a_sum(kind: str) -> None:
    """A sampler is one thread's: what it has seen before an image changes nothing."""
    shape = KINDS[kind]
    images = tensors(shape, 40)
    plain = sampled(Moments((shape,), 40), images)
    assert plain.any()
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(images))
        np.testing.assert_array_equal(sampled(Moments((shape,), 40), images[order]), plain)
        moments = Moments((shape,), 40)
        samplers = [Sampler(moments) for _ in range(3)]
        for index in order:
            samplers[index % 3].observe(images[index], {"x": images[index]})
        for sampler in samplers:
            sampler.flush()
        np.testing.assert_array_equal(moments.sums["conv"], plain)


def test_more_windows_than_are_multiplied_at_once_are_all_counted() -> None:
    shape = conv_input(channels=16)
    (image,) = tensors(shape, 1, (40, 40))
    share = Moments((shape,), 1).share(shape)
    assert 2 * FLUSHED < share < 40 * 40
    codes = shape.codes(shape.windows(image[0], share, zlib.crc32(image.data) / 2**32)).astype(np.int64)
    assert codes.shape == (share, 1, 144)
    np.testing.assert_array_equal(sampled(Moments((shape,), 1), image[None])[0], codes[:, 0].T @ codes[:, 0])


def test_of_more_images_than_int32_holds_some_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which ones, their pixels say; those that stay show all positions."""
    monkeypatch.setattr(module, "MOST_IMAGES", 100)
    shape = conv_input(channels=1, kernel=(1, 1), pads=(0, 0, 0, 0), scale=1.0)
    moments = Moments((shape,), 400)
    taken: list[float] = []
    images = np.random.default_rng(0).normal(size=(400, 1, 1, 4, 4)).astype(np.float32)

    def windows(_self: ConvInput, _values: Images, count: int, start: float) -> Images:
        taken.append(start)
        return np.ones((count, 1, 1), dtype=np.float32)

    monkeypatch.setattr(ConvInput, "windows", windows)
    found = sampled(moments, images)
    assert 70 < len(taken) < 130
    assert found[0, 0, 0] == len(taken)
    assert max(taken) < 1.0
    assert np.histogram(taken, 4, (0.0, 1.0))[0].min() > 10


def collected(file: Path, images: Images, size: int, threads: int) -> dict[str, Sums]:
    """The moments of the trained network's Convs as `collect_ranges` takes them."""
    graph = ir.load(file).graph
    names = {node.inputs[0].name or "" for node in graph if node.op_type == "Conv" and node.inputs[0] is not None}
    moments = Moments(find_conv_inputs(graph, dict.fromkeys(names, 0.02), None), len(images))
    batches = (images[start : start + size] for start in range(0, len(images), size))
    collect_ranges(ObservedGraph(file), batches, histograms=False, threads=threads, moments=moments)
    return {conv: sums.astype(np.int64) for conv, sums in moments.sums.items()}


def test_order_batch_and_threads_do_not_change_the_moments_of_a_network(made_bundle: Path, digits: Images) -> None:
    plain = collected(made_bundle / "fp32.onnx", digits, 1, 1)
    assert len(plain) == 9
    assert all((np.diagonal(sums, axis1=1, axis2=2).sum(axis=1) > 0).all() for sums in plain.values())
    for seed, (size, threads) in enumerate([(1, 2), (7, 1), (64, 5)]):
        order = np.random.default_rng(seed).permutation(len(digits))
        found = collected(made_bundle / "fp32.onnx", digits[order], size, threads)
        assert found.keys() == plain.keys()
        for conv, sums in found.items():
            np.testing.assert_array_equal(sums, plain[conv])
