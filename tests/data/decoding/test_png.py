"""Texts and profiles in a PNG are no pixels: however large, the image is decoded, and its pixels are the same."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from wrn_deploy.data.decoding.decode import Encoded
from wrn_deploy.data.decoding.png import without_texts


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _with(chunk: bytes, where: int = 33) -> tuple[bytes, bytes]:
    stream = BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(stream, "PNG")
    plain = stream.getvalue()
    return plain, plain[:where] + chunk + plain[where:]


BOMB = zlib.compress(bytes(2**26), 9)
TEXTS = {
    "a text of 2 MB": _chunk(b"tEXt", b"key\0" + b"A" * 2_000_000),
    "40 texts that inflate to 64 MB": b"".join(_chunk(b"zTXt", b"k%d\0\0" % n + BOMB) for n in range(40)),
    "an international text": _chunk(b"iTXt", b"key\0\1\0\0\0" + BOMB),
    "a profile that inflates to 64 MB": _chunk(b"iCCP", b"name\0\0" + BOMB),
    "a text with a wrong checksum": _chunk(b"tEXt", b"key\0value")[:-1] + b"?",
    "a text that cannot be inflated": _chunk(b"zTXt", b"key\0\0" + b"no zlib"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_the_pixels_are_those_without_it(name: str) -> None:
    plain, texted = _with(TEXTS[name])
    assert without_texts(texted) == plain
    np.testing.assert_array_equal(Encoded(texted, "x")(), Encoded(plain, "x")())


def test_other_files_are_unchanged() -> None:
    plain, other = _with(_chunk(b"gAMA", struct.pack(">I", 45455)))
    for content in (plain, other, b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", plain[:40], b"tEXt"):
        assert without_texts(content) is content


def test_what_stands_behind_the_image_is_not_looked_at() -> None:
    """Zeros would be chunks of no length: 21 million in 256 MB."""
    plain, texted = _with(_chunk(b"tEXt", b"key\0value"))
    behind = bytes(2**20) + _chunk(b"tEXt", b"key\0value")
    assert without_texts(texted + behind) == plain + behind


def test_a_length_beyond_the_end_ends_the_file() -> None:
    plain, texted = _with(struct.pack(">I", 2**31 - 1) + b"tEXtabc")
    assert without_texts(texted) == plain[:33]
