"""Pictures of every depth: as bright as their 8-bit form, or an error that names them; never black in silence."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.data.made import PLAIN
from wrn_deploy.data import CorruptImage, Role, open_data
from wrn_deploy.data.any_image import fit_images
from wrn_deploy.data.decoding.decode import Encoded
from wrn_deploy.data.preprocess import Batches
from wrn_deploy.errors import DeployError

Values = npt.NDArray[Any]
GREY = np.add.outer(np.arange(32), 6 * np.arange(32)).astype(np.uint8)  # 0 to 217, mean 108.5


def _saved(image: Image.Image, codec: str) -> bytes:
    stream = BytesIO()
    image.save(stream, codec)
    return stream.getvalue()


def _tiff(values: Values, bits: int, *, sample_format: int = 1, photometric: int = 1, content: bytes = b"") -> bytes:
    """A TIFF of one strip, little-endian; `content` if its samples are not whole bytes."""
    height, width, *more = values.shape
    samples = more[0] if more else 1
    pixels = content or values.tobytes()
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, samples, bits), (259, 3, 1, 1), (262, 3, 1, photometric),
        (273, 4, 1, 0), (277, 3, 1, samples), (278, 4, 1, height), (279, 4, 1, len(pixels)),
        (339, 3, samples, sample_format),
    ]  # fmt: skip
    start = 8 + 2 + 12 * len(tags) + 4
    extra = b""
    entries = b""
    for tag, kind, count, value in tags:
        if count == 3:
            entries += struct.pack("<HHII", tag, kind, count, start + len(extra))
            extra += struct.pack("<3H", value, value, value) + bytes(2)
        else:
            entries += struct.pack("<HHII", tag, kind, count, value)
    entries = entries.replace(struct.pack("<HHII", 273, 4, 1, 0), struct.pack("<HHII", 273, 4, 1, start + len(extra)))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + extra + pixels


def _png_rgb16(values: Values) -> bytes:
    """A PNG of 16-bit colour, which Pillow reads and does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6, 2: 4}[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _pgm(largest: int, values: Values) -> bytes:
    return b"P5 32 32 %d\n" % largest + values.astype(">u2" if largest > 255 else "u1").tobytes()


def _twelve_bits(values: Values) -> bytes:
    pairs = values.reshape(-1, 2)
    packed = [pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255]
    return np.stack(packed, axis=1).astype(np.uint8).tobytes()


def _grey_png(values: Values) -> bytes:
    return _saved(Image.fromarray(values), "PNG")


def _grey_tiff(values: Values) -> bytes:
    return _saved(Image.fromarray(values), "TIFF")


def _grey_pgm(values: Values) -> bytes:
    return _pgm(65535, values)


def _png_rgba16(values: Values) -> bytes:
    return _png_rgb16(np.concatenate([values, np.full((32, 32, 1), 0xFFFF, dtype=np.uint16)], axis=2))


def _tiff_rgb16(values: Values) -> bytes:
    return _tiff(values, 16, photometric=2)


WIDE: Values = GREY.astype(np.uint16)
RGB: Values = np.repeat(WIDE[:, :, None], 3, axis=2)
DEEP = {
    "grey PNG": _saved(Image.fromarray(WIDE << 8 | WIDE), "PNG"),
    "grey TIFF": _saved(Image.fromarray(WIDE << 8), "TIFF"),
    "grey TIFF, white is zero": _tiff(0xFFFF - (WIDE << 8), 16, photometric=0),
    "TIFF of 12 bits": _tiff(WIDE, 12, content=_twelve_bits(WIDE << 4)),
    "PGM of 16 bits": _pgm(65535, WIDE << 8),
    "PGM of 12 bits": _pgm(4095, WIDE << 4),
    "PGM of 10 bits": _pgm(1023, WIDE << 2),
    "PGM of 14 bits": _pgm(16383, WIDE << 6),
    "colour PNG": _png_rgb16(RGB << 8),
    "colour PNG with alpha": _png_rgba16(RGB << 8),
    "grey PNG with alpha": _png_rgba16(RGB[..., :1] << 8),
    "colour TIFF": _tiff(RGB << 8, 16, photometric=2),
}
UNKNOWN = {
    "floats of 0 to 1": (_saved(Image.fromarray(GREY.astype(np.float32) / 255), "TIFF"), "floats"),
    "floats of 0 to 255": (_saved(Image.fromarray(GREY.astype(np.float32)), "TIFF"), "floats"),
    "colour floats": (_tiff(RGB.astype(np.float32), 32, sample_format=3, photometric=2), "a TIFF variant"),
    "32 bits, signed": (_saved(Image.fromarray(GREY.astype(np.int32)), "TIFF"), "signed"),
    "32 bits, unsigned": (_tiff(WIDE.astype(np.uint32), 32), "32 bits"),
    "16 bits, signed": (_tiff(WIDE.astype(np.int16), 16, sample_format=2), "signed"),
    "8 bits, signed": (_tiff(GREY, 8, sample_format=2), "signed"),
    **{
        f"{bits} bits in 16, {kind}": (write(WIDE << (bits - 8)), f"end at {217 << bits - 8} of 65535, as .* {bits} ")
        for bits in (8, 10, 12, 14)
        for kind, write in (("PNG", _grey_png), ("TIFF", _grey_tiff), ("PGM", _grey_pgm))
    },
    **{
        f"{bits} bits in 16, colour {kind}": (write(RGB << (bits - 8)), "of 65535, as those of")
        for bits in (8, 10, 12, 14)
        for kind, write in (("PNG", _png_rgb16), ("PNG with alpha", _png_rgba16), ("TIFF", _tiff_rgb16))
    },
}


@pytest.mark.parametrize("name", DEEP)
def test_a_deep_picture_is_as_bright_as_its_8_bits(name: str) -> None:
    pixels = Encoded(DEEP[name], name)()
    assert pixels.shape == (32, 32, 3)
    assert np.abs(pixels.astype(int) - GREY[:, :, None]).max() <= 1


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_picture_that_does_not_say_its_depth_is_an_error(name: str) -> None:
    content, words = UNKNOWN[name]
    with pytest.raises(CorruptImage, match=f"{name} cannot be .*{words}"):
        Encoded(content, name)()


@pytest.mark.parametrize("values", [np.zeros((32, 32), dtype=np.uint16), np.full((32, 32), 2**14, dtype=np.uint16)])
def test_black_is_black_at_any_depth_and_dark_grey_may_use_its_16_bits(values: Values) -> None:
    assert (Encoded(_saved(Image.fromarray(values), "PNG"), "a")() == values[0, 0] >> 8).all()


@pytest.mark.parametrize("image", [GREY.astype(np.float32), GREY.astype(np.int32), WIDE])
def test_an_image_in_memory_is_judged_alike(image: Values) -> None:
    with pytest.raises(CorruptImage, match="image 0 cannot be converted to 8 bits"):
        list(fit_images([Image.fromarray(image)], PLAIN, 1))


def test_the_pictures_are_counted_and_named_as_corrupt_ones_are(tmp_path: Path) -> None:
    (tmp_path / "dark.png").write_bytes(_saved(Image.fromarray(WIDE), "PNG"))
    (tmp_path / "good.png").write_bytes(_saved(Image.fromarray(GREY), "PNG"))
    source = open_data(str(tmp_path), Role.TEST)
    with pytest.raises(DeployError, match=r"dark\.png cannot be converted to 8 bits .*1 corrupt, none allowed"):
        list(Batches(source, PLAIN, 2))
    batches = Batches(source, PLAIN, 2, max_corrupt=1)
    assert [batch.names for batch in batches] == [("good.png",)]
    assert batches.corrupt == ["dark.png"]
