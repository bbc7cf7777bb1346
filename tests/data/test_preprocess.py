"""Fitting, normalising and batching, beside a reference written with Pillow alone."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.made import Pixels
from wrn_deploy.data import CorruptImage, Item, Role, open_data
from wrn_deploy.data.preprocess import RESIZED_WHOLE, Batches, as_input, fit_image, normalize, scale_and_shift
from wrn_deploy.errors import DeployError, OverLimit
from wrn_deploy.spec import Interface, ModelSpec, Preprocessing

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PLAIN = Preprocessing(height=32, width=32, mean=MEAN, std=STD)
IMAGENET = Preprocessing(height=224, width=224, mean=MEAN, std=STD, resize=256)


def _reference(path: Path, method: Image.Resampling) -> Pixels:
    """torchvision's Resize(256) and CenterCrop(224), as its source has them."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    width, height = image.size
    short, long = sorted(image.size)
    new_long = int(256 * long / short)
    image = image.resize((256, new_long) if width <= height else (new_long, 256), method)
    left, top = round((image.width - 224) / 2.0), round((image.height - 224) / 2.0)
    return np.asarray(image.crop((left, top, left + 224, top + 224)))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_real_images_are_fitted_as_torchvision_does(shared_data: Path, interpolation: str) -> None:
    folder = shared_data / "imagenet" / "images"
    preprocessing = Preprocessing(height=224, width=224, mean=MEAN, std=STD, resize=256, interpolation=interpolation)
    for item in list(open_data(str(folder), Role.TEST).items())[::10]:
        expected = _reference(folder / item.name, Image.Resampling[interpolation.upper()])
        np.testing.assert_array_equal(fit_image(item.load(), preprocessing, item.name), expected)


@pytest.mark.parametrize("size", [(57, 131), (131, 57), (1, 1), (33, 300), (256, 255)])
def test_an_odd_sized_grey_image_is_fitted(tmp_path: Path, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size[::-1], dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "grey.png")
    (item,) = open_data(str(tmp_path), Role.TEST).items()
    fitted = fit_image(item.load(), IMAGENET, item.name)
    np.testing.assert_array_equal(fitted, _reference(tmp_path / "grey.png", Image.Resampling.BILINEAR))
    assert fitted.dtype == np.uint8


def test_without_resizing_the_size_must_fit() -> None:
    text = "cat.png is 30x20 pixels: expected 32x32, the size this model was trained on; resize it first, or export"
    with pytest.raises(DeployError, match=re.escape(text)):
        fit_image(np.zeros((20, 30, 3), dtype=np.uint8), PLAIN, "cat.png")


def test_an_image_of_the_right_size_is_left_alone(digit_images: Pixels) -> None:
    image = digit_images[0]
    assert fit_image(image, PLAIN, "digit") is image


def test_normalising_follows_the_formula(digit_images: Pixels) -> None:
    expected = (digit_images / 255.0 - np.array(MEAN)) / np.array(STD)
    result = normalize(digit_images, PLAIN)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    np.testing.assert_allclose(result, expected.transpose(0, 3, 1, 2), atol=2e-6)


def test_the_arithmetic_is_one_product_and_one_sum_in_float32(digit_images: Pixels) -> None:
    """So that any runtime can do the same, to the last bit."""
    scale, shift = scale_and_shift(PLAIN)
    assert [(str(one.dtype), one.shape) for one in (scale, shift)] == [("float32", (3,)), ("float32", (3,))]
    planes = digit_images.transpose(0, 3, 1, 2).astype(np.float32)
    expected = planes * scale[:, None, None] + shift[:, None, None]
    np.testing.assert_array_equal(normalize(digit_images, PLAIN), expected)


def test_pixels_are_left_to_graphs_that_take_them(digit_images: Pixels) -> None:
    plain = ModelSpec(name="wrn-10-1", family="wrn", depth=10, widen=1, classes=10, preprocessing=PLAIN)
    np.testing.assert_array_equal(as_input(digit_images, PLAIN, plain.input), normalize(digit_images, PLAIN))
    pixels = dataclasses.replace(plain, interface=Interface(pixels=True))
    assert as_input(digit_images, PLAIN, pixels.input) is digit_images


def test_batches_have_the_size_and_the_last_one_the_rest(npz_file: Path, digit_labels: list[int]) -> None:
    batches = Batches(open_data(str(npz_file), Role.TEST), PLAIN, 20)
    for _ in range(2):
        found = list(batches)
        assert [len(batch.images) for batch in found] == [20, 20, 8]
        assert np.concatenate([batch.labels for batch in found]).tolist() == digit_labels
        assert [len(batch.names) for batch in found] == [20, 20, 8]
    assert len(batches) == 48


@pytest.mark.parametrize(("limit", "sizes"), [(5, [5]), (20, [20]), (25, [20, 5]), (100, [20, 20, 8])])
def test_a_limit_ends_early(npz_file: Path, limit: int, sizes: list[int]) -> None:
    batches = Batches(open_data(str(npz_file), Role.TEST), PLAIN, 20, limit=limit)
    assert [len(batch.images) for batch in batches] == sizes
    assert len(batches) == min(limit, 48)


def test_images_without_labels_have_minus_one(tmp_path: Path, digit_images: Pixels) -> None:
    np.savez(tmp_path / "a.npz", images=digit_images)
    (batch,) = Batches(open_data(str(tmp_path / "a.npz"), Role.TEST), PLAIN, 64)
    assert set(batch.labels.tolist()) == {-1}


def test_a_random_order_mixes_the_batches(npz_file: Path) -> None:
    source = open_data(str(npz_file), Role.TEST)
    (straight,) = Batches(source, PLAIN, 48)
    (mixed,) = Batches(source, PLAIN, 48, order=np.random.default_rng(0))
    assert straight.names != mixed.names
    assert sorted(straight.names) == sorted(mixed.names)


def test_images_of_different_sizes_make_one_batch_when_resized(shared_data: Path) -> None:
    source = open_data(str(shared_data / "imagenet"), Role.TEST)
    (batch,) = Batches(source, IMAGENET, 16, limit=16)
    assert batch.images.shape == (16, 224, 224, 3)
    assert batch.labels.tolist() == list(range(0, 64, 4))


def test_a_source_without_a_readable_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"none")
    batches = Batches(open_data(str(tmp_path), Role.TEST), IMAGENET, 16, max_corrupt=1)
    with pytest.raises(DeployError, match="has no readable image: expected at least one"):
        list(batches)


@pytest.mark.parametrize("size", [(4000, 500), (300, 5000), (64, 3000), (3000, 64), (1, 255), (255, 1)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_long_images_are_fitted_as_torchvision_does(tmp_path: Path, size: tuple[int, int], interpolation: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    how = dataclasses.replace(IMAGENET, interpolation=interpolation)
    expected = _reference(tmp_path / "x.png", Image.Resampling[interpolation.upper()])
    np.testing.assert_array_equal(fit_image(pixels, how, "x"), expected)


@pytest.mark.parametrize("size", [(600, 2), (2, 600)])
def test_the_crop_of_a_very_long_image_is_nearly_the_same(tmp_path: Path, size: tuple[int, int]) -> None:
    """A smooth one, as photographs are; it is beyond the limit up to which the pixels are the same to the last bit."""
    rows, columns = np.mgrid[: size[1], : size[0]]
    pixels = np.stack([127 + 120 * np.sin((rows + columns) / period) for period in (9, 17, 40)], axis=2).astype(
        np.uint8
    )
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert RESIZED_WHOLE < 256 * 256 * 300
    found = fit_image(pixels, IMAGENET, "x").astype(int)
    assert np.abs(found - _reference(tmp_path / "x.png", Image.Resampling.BILINEAR)).max() <= 1


def test_the_memory_of_a_long_image_is_that_of_its_crop() -> None:
    code = (
        "import numpy as np; from wrn_deploy.data.preprocess import fit_image\n"
        "from wrn_deploy.spec import Preprocessing\n"
        "how = Preprocessing(height=224, width=224, mean=(0, 0, 0), std=(1, 1, 1), resize=256)\n"
        "assert fit_image(np.zeros((1_000_000, 20, 3), np.uint8), how, 'x').shape == (224, 224, 3)\n"
        "status = open('/proc/self/status').read()\n"  # ru_maxrss begins with that of the process that started this one
        "print(int(status.partition('VmHWM:')[2].split()[0]) // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 600


def test_an_input_larger_than_the_budget_is_refused() -> None:
    how = Preprocessing(height=20_000, width=20_000, mean=MEAN, std=STD, resize=20_000)
    with pytest.raises(OverLimit, match="the network's input needs 400,000,000 pixels: the limit is 100,000,000"):
        fit_image(np.zeros((8, 8, 3), dtype=np.uint8), how, "x")


class Flawed:
    """Images by their numbers, some of them corrupt."""

    def __init__(self, count: int, corrupt: set[int]) -> None:
        self.name, self.mirror = "flawed", True
        self.labels: tuple[str, ...] = ()
        self._count, self._corrupt = count, corrupt

    def __len__(self) -> int:
        return self._count

    def items(self, order: np.random.Generator | None = None) -> Iterator[Item]:
        assert order is None
        return (Item(str(number), None, partial(self._load, number)) for number in range(self._count))

    def _load(self, number: int) -> Pixels:
        if number in self._corrupt:
            raise CorruptImage(f"{number} is damaged")
        return np.zeros((32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("aligned", "sizes"),
    [(False, [["0", "2", "4"], ["5", "7", "8"], ["9"]]), (True, [["0", "2"], ["4", "5"], ["7", "8"], ["9"]])],
)
def test_aligned_batches_do_not_depend_on_corrupt_images(aligned: bool, sizes: list[list[str]]) -> None:
    source = Flawed(10, {1, 3, 6})
    batches = Batches(source, PLAIN, 3, max_corrupt=3, aligned=aligned)
    assert [list(batch.names) for batch in batches] == sizes
    assert batches.corrupt == ["1", "3", "6"]


def test_an_aligned_batch_without_images_is_left_out_and_a_limit_holds() -> None:
    names = [list(batch.names) for batch in Batches(Flawed(9, {3, 4, 5}), PLAIN, 3, max_corrupt=3, aligned=True)]
    assert names == [["0", "1", "2"], ["6", "7", "8"]]
    limited = Batches(Flawed(9, {1}), PLAIN, 3, limit=4, max_corrupt=1, aligned=True)
    assert [list(batch.names) for batch in limited] == [["0", "2"], ["3", "4"]]
