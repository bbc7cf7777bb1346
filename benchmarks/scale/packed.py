"""Makes WebDataset shards of the images in a parquet file, for the benchmarks of `score`; pyarrow."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

from wrn_deploy.files.new_file import new_file

__all__ = ["pack_parquet"]


def pack_parquet(parquet: Path, folder: Path, shards: int) -> int:
    """Writes the images and labels of a parquet file (`img` with `bytes`, `label`) as shards; returns their number."""
    from pyarrow import parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(parquet, columns=["img", "label"]).to_pylist()
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        own = range(shard * len(rows) // shards, (shard + 1) * len(rows) // shards)
        with new_file(folder / f"shard-{shard:03d}.tar") as stream, tarfile.open(fileobj=stream, mode="w") as archive:
            for index in own:
                label = str(rows[index]["label"]).encode("ascii")
                for name, content in ((f"{index:06d}.jpg", rows[index]["img"]["bytes"]), (f"{index:06d}.cls", label)):
                    header = tarfile.TarInfo(name)
                    header.size = len(content)
                    archive.addfile(header, io.BytesIO(content))
    return len(rows)
