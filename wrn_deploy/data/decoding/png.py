"""Takes texts and colour profiles out of a PNG: they are no pixels, and Pillow refuses large ones; no Pillow."""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = ["without_texts"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"iCCP"})


def without_texts(content: bytes) -> bytes:
    """Returns an image file without these chunks if it is a PNG that has some, and unchanged otherwise."""
    if not content.startswith(SIGNATURE):
        return content
    texts = [place for place in _chunks(content) if content[place.start + 4 : place.start + 8] in TEXTS]
    if not texts:
        return content
    starts, ends = [0, *(text.stop for text in texts)], [*(text.start for text in texts), len(content)]
    return b"".join(content[start:end] for start, end in zip(starts, ends, strict=True))


def _chunks(content: bytes) -> Iterator[slice]:
    """Yields where each chunk is: the length of its data, its name, the data, and a checksum."""
    start = len(SIGNATURE)
    while start + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, start)
        yield slice(start, min(start + 12 + length, len(content)))
        start += 12 + length
