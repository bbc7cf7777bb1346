"""WebDataset's tar shards, plain and compressed, with labels in JSON and text."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from tests.fuzzing.sets import read_set, small_png
from wrn_deploy.data.formats import webdataset

__all__ = ["read", "seeds"]


def seeds(_folder: Path) -> Iterator[bytes]:
    """One in each of tarfile's formats, with long names, and one compressed."""
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        content = _packed(kind)
        yield content
    yield gzip.compress(content, mtime=0)


def _packed(kind: int) -> bytes:
    stream = BytesIO()
    long = "x" * (60 if kind == tarfile.USTAR_FORMAT else 160)
    with tarfile.open(fileobj=stream, mode="w", format=kind, encoding="utf-8") as archive:
        files = {"a.png": small_png(), "a.cls": b"3", f"{long}/b.png": small_png(), f"{long}/b.json": b'{"label": 2}'}
        for name, content in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, BytesIO(content))
    return stream.getvalue()


def read(path: Path) -> None:
    """Decodes all images."""
    read_set(path, webdataset)
