"""Images of every colour mode and codec, damaged, huge or no images at all."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.made import Pixels, encode
from wrn_deploy.data import CorruptImage, Role, open_data
from wrn_deploy.data.decoding.decode import Encoded


@pytest.mark.parametrize("mode", ["L", "1", "P", "PA", "RGBA", "LA", "CMYK", "YCbCr", "I;16"])
def test_every_colour_mode_becomes_rgb(tmp_path: Path, digit_images: Pixels, mode: str) -> None:
    suffix = {"CMYK": "jpg", "YCbCr": "jpg", "PA": "tif"}.get(mode, "png")
    gray = Image.fromarray(digit_images[0]).convert("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(gray).astype(np.uint16) << 8)
    else:
        image = gray.convert("LA").convert(mode) if mode == "PA" else gray.convert("RGB").convert(mode)
    image.save(tmp_path / f"image.{suffix}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (item,) = open_data(str(tmp_path), Role.TEST).items()
        pixels = item.load()
    assert pixels.shape == (32, 32, 3)
    assert pixels.dtype == np.uint8
    tolerance = 128 if mode == "1" else 24
    assert np.abs(pixels.astype(int) - digit_images[0]).mean() < tolerance


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=b"\x00\x80")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (item,) = open_data(str(tmp_path), Role.TEST).items()
        assert item.load().tolist() == [[[255, 0, 0], [0, 255, 0]]]


def test_the_exif_orientation_is_not_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (20, 10))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    (item,) = open_data(str(tmp_path), Role.TEST).items()
    assert item.load().shape == (10, 20, 3)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "ppm", "gif", "tif"])
def test_a_file_damaged_anywhere_is_read_or_called_corrupt(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(path)
    content = path.read_bytes()
    (item,) = open_data(str(tmp_path), Role.TEST).items()
    found: list[str] = []
    for end in range(0, len(content), max(1, len(content) // 40)):
        damaged = bytearray(content[: end + 1])
        damaged[int(random.integers(len(damaged)))] ^= 0xFF
        path.write_bytes(damaged)
        try:
            assert item.load().ndim == 3
        except CorruptImage as error:
            found.append(str(error))
    assert found
    assert all(text.startswith(f"{path} cannot be decoded") for text in found)


def test_an_absurdly_large_image_is_corrupt(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    (image_folder / "3" / "large.png").write_bytes(encode(np.zeros((64, 64), dtype=np.uint8)))
    item = next(item for item in open_data(str(image_folder), Role.TEST).items() if "large" in item.name)
    with pytest.raises(CorruptImage, match=r"large\.png cannot be decoded .*decompression bomb"):
        item.load()


def test_the_warning_about_a_large_image_is_an_error_only_if_warnings_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 800)  # 32 x 32 is more, but not twice as many
    (item,) = open_data(str(tmp_path), Role.TEST).items()
    with pytest.warns(Image.DecompressionBombWarning):
        assert item.load().shape == (32, 32, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(CorruptImage, match="decompression bomb"):
            item.load()


def test_code_in_an_image_file_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    (item,) = open_data(str(tmp_path), Role.TEST).items()
    with pytest.raises(CorruptImage, match="no known image format"):
        item.load()


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "ppm", "gif", "tif"])
@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_the_picture_is_the_same_as_the_pixels_and_needs_its_file_no_more(
    tmp_path: Path, digit_images: Pixels, suffix: str, mode: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    kept = "RGB" if mode == "P" and suffix in ("jpg", "webp", "ppm") else mode
    Image.fromarray(digit_images[0]).convert(kept).save(path)
    load = Encoded(path, "a")
    pixels, picture = load(), load.picture()
    path.unlink()
    assert picture.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(picture), pixels)
    np.testing.assert_array_equal(picture.resize((20, 20)), Image.fromarray(pixels).resize((20, 20)))
