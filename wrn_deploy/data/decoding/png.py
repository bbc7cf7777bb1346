"""Takes texts and colour profiles out of a PNG: they are no pixels, and Pillow refuses large ones; no Pillow."""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = ["without_texts"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"iCCP"})


def without_texts(content: bytes) -> bytes:
    """Returns an image file without these chunks if it is a PNG that has some, and unchanged otherwise."""
    if not content.startswith(SIGNATURE) or not any(name in content for name in TEXTS):
        return content
    texts = [place for name, place in _chunks(content) if name in TEXTS]
    if not texts:
        return content
    starts, ends = [0, *(text.stop for text in texts)], [*(text.start for text in texts), len(content)]
    return b"".join(content[start:end] for start, end in zip(starts, ends, strict=True))


def _chunks(content: bytes) -> Iterator[tuple[bytes, slice]]:
    """Yields name and place of each chunk up to the last one: length of the data, name, data, checksum."""
    start, name = len(SIGNATURE), b""
    while start + 12 <= len(content) and name != b"IEND":
        length, name = struct.unpack_from(">I4s", content, start)
        yield name, slice(start, min(start + 12 + length, len(content)))
        start += 12 + length
