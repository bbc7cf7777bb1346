"""Parquet files of encoded images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.fuzzing.sets import read_set, small_png

__all__ = ["PACKAGES", "read", "seeds"]

PACKAGES = ("pyarrow",)
read = read_set


def seeds(folder: Path) -> Iterator[bytes]:
    """Three rows, with each of the two forms of an image and three codecs."""
    import pyarrow as pa
    from pyarrow import parquet

    encoded = [small_png()] * 3
    structs = [{"bytes": content, "path": None} for content in encoded]
    for images, codec in ((encoded, "none"), (structs, "snappy"), (encoded, "zstd"), (structs, "gzip")):
        parquet.write_table(pa.table({"img": images, "label": [0, 1, 2]}), folder / "x", compression=codec)
        yield (folder / "x").read_bytes()
