"""Parquet files of encoded images, read in this process; the commands read them in one of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.fuzzing.sets import HOW, small_png
from wrn_deploy.data import CorruptImage
from wrn_deploy.data.formats.parquet import _describe, _items
from wrn_deploy.data.preprocess import fit_item

__all__ = ["PACKAGES", "read", "seeds"]

PACKAGES = ("pyarrow",)


def seeds(folder: Path) -> Iterator[bytes]:
    """Three rows, with each of the two forms of an image and three codecs."""
    import pyarrow as pa
    from pyarrow import parquet

    encoded = [small_png()] * 3
    structs = [{"bytes": content, "path": None} for content in encoded]
    for images, codec in ((encoded, "none"), (structs, "snappy"), (encoded, "zstd"), (structs, "gzip")):
        parquet.write_table(pa.table({"img": images, "label": [0, 1, 2]}), folder / "x", compression=codec)
        yield (folder / "x").read_bytes()


def read(path: Path) -> None:
    """Decodes all images."""
    columns, _, *groups = _describe(path)
    for index in range(len(groups)):
        for item in _items(path, index, 0, columns):
            with contextlib.suppress(CorruptImage):
                fit_item(item, HOW)
