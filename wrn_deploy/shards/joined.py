"""Joins parts to one parquet file in bounded memory; pyarrow."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import Any, BinaryIO, Self

from wrn_deploy.shards.parts import CODEC, HashedStream

__all__ = ["Joined"]

JOINED_ROWS, JOINED_BYTES = 2**17, 2**25  # of a row group, which has at least one of both


class Joined:
    """Writes the rows of several parts to one file; a context manager.

    Its row groups are larger than those of parts, since a writer keeps a description of each until the end.
    """

    def __init__(self, stream: BinaryIO, metadata: Mapping[str, str]) -> None:
        self._hashed, self._metadata = HashedStream(stream), metadata
        self._writer: Any = None
        self._waiting: list[Any] = []
        self._rows = self._bytes = 0

    @property
    def sha256(self) -> str:
        """The digest of the file, after the block."""
        return self._hashed.digest.hexdigest()

    @property
    def size_bytes(self) -> int:
        """The size of the file, after the block."""
        return self._hashed.size_bytes

    def add(self, part: Any) -> None:
        """Adds the rows of an open part, one row group after the other."""
        from pyarrow import parquet as pq

        schema = part.schema_arrow.with_metadata(dict(self._metadata))
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._hashed, schema, compression=CODEC, use_dictionary=["source"], store_schema=True
            )
        for group in range(part.num_row_groups):
            rows = part.read_row_group(group, use_threads=False).replace_schema_metadata(schema.metadata)
            self._waiting.append(rows)
            self._rows, self._bytes = self._rows + len(rows), self._bytes + rows.nbytes
            if self._rows >= JOINED_ROWS or self._bytes >= JOINED_BYTES:
                self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._waiting:
            table = pa.concat_tables(self._waiting).combine_chunks()
            self._writer.write_table(table, row_group_size=max(1, len(table)))
        self._waiting, self._rows, self._bytes = [], 0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._writer is None:
            return
        if kind is None:
            self._flush()
            self._writer.close()
            return
        with contextlib.suppress(Exception):
            self._writer.close()
