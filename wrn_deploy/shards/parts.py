"""Writes and reads the parts: parquet files with a row per image, whose bytes depend on the rows alone; pyarrow."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt

from wrn_deploy.errors import missing_package
from wrn_deploy.files.damage import name_damage

__all__ = ["CODEC", "HashedStream", "PartShape", "PartWriter", "Rows", "check_pyarrow", "open_part"]

ROWS_IN_GROUP = 4096  # a group is written when it has at least these
CODEC = "zstd"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartShape:
    """The columns: the number of classes of each image, and of the logits and features; 0: no such column."""

    top_k: int
    logits: int = 0
    features: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Some images and their scores.

    Args:
        ids: the names of the images in their shard.
        source: the shard's name.
        labels: int64 (N,), -1 for none.
        classes: (N, top_k), best first.
        scores: (N, top_k), of these classes.
        logits: (N, classes), or None.
        features: (N, features), or None.
    """

    ids: Sequence[str]
    source: str
    labels: npt.NDArray[np.int64]
    classes: npt.NDArray[np.integer[Any]]
    scores: npt.NDArray[np.floating[Any]]
    logits: npt.NDArray[np.float32] | None = None
    features: npt.NDArray[np.float32] | None = None


def check_pyarrow() -> None:
    """Raises MachineError if pyarrow, which writes the parts, is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise missing_package("pyarrow", "parquet", "writing scores") from error


class PartWriter:
    """Writes a part; a context manager.

    Attributes:
        images: rows so far.
    """

    def __init__(self, stream: BinaryIO, shape: PartShape, metadata: Mapping[str, str]) -> None:
        from pyarrow import parquet as pq

        self.images = 0
        self._hashed = HashedStream(stream)
        self._shape, self._schema = shape, _schema(shape, metadata)
        # The order of rows and groups, and all options, are fixed: the same rows make the same bytes.
        self._writer: Any = pq.ParquetWriter(
            self._hashed, self._schema, compression=CODEC, use_dictionary=["source"], store_schema=True
        )
        self._waiting: list[Any] = []
        self._rows = 0

    @property
    def sha256(self) -> str:
        """The digest of what was written; of the part, after the block."""
        return self._hashed.digest.hexdigest()

    @property
    def size_bytes(self) -> int:
        """The bytes written; the part's size, after the block."""
        return self._hashed.size_bytes

    def add(self, rows: Rows) -> None:
        """Adds images."""
        import pyarrow as pa

        shape = self._shape
        columns = [
            pa.array(rows.ids, pa.string()),
            pa.repeat(pa.scalar(rows.source, pa.string()), len(rows.ids)),
            pa.array(rows.labels, pa.int64(), mask=rows.labels < 0),
            _vectors(rows.classes, np.int32, shape.top_k),
            _vectors(rows.scores, np.float32, shape.top_k),
        ]
        if shape.logits:
            assert rows.logits is not None
            columns.append(_vectors(rows.logits, np.float32, shape.logits))
        if shape.features:
            assert rows.features is not None
            columns.append(_vectors(rows.features, np.float32, shape.features))
        self._waiting.append(pa.record_batch(columns, schema=self._schema))
        self._rows += len(rows.ids)
        self.images += len(rows.ids)
        if self._rows >= ROWS_IN_GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._waiting:
            table = pa.Table.from_batches(self._waiting, self._schema).combine_chunks()
            self._writer.write_table(table, row_group_size=len(table))
        self._waiting, self._rows = [], 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._flush()
            self._writer.close()
            return
        with contextlib.suppress(Exception):  # the file is dropped; a full disk would fail a second time
            self._writer.close()


@contextlib.contextmanager
def open_part(file: Path) -> Iterator[Any]:
    """Opens a part as pyarrow's ParquetFile, for the block; raises DamagedFile if it cannot be read."""
    import pyarrow as pa
    from pyarrow import parquet as pq

    with name_damage(file, "parquet", (pa.ArrowException,)), pq.ParquetFile(file, pre_buffer=False) as part:
        yield part


def _schema(shape: PartShape, metadata: Mapping[str, str]) -> Any:
    import pyarrow as pa

    fields = [
        ("id", pa.string()),
        ("source", pa.string()),
        ("label", pa.int64()),
        ("classes", pa.list_(pa.int32(), shape.top_k)),
        ("scores", pa.list_(pa.float32(), shape.top_k)),
    ]
    if shape.logits:
        fields.append(("logits", pa.list_(pa.float32(), shape.logits)))
    if shape.features:
        fields.append(("features", pa.list_(pa.float32(), shape.features)))
    return pa.schema(fields, metadata=dict(metadata))


def _vectors(values: npt.NDArray[Any], dtype: Any, length: int) -> Any:
    import pyarrow as pa

    flat = np.ascontiguousarray(values, dtype=dtype).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), length)


class HashedStream:
    """A stream that is written to from front to back, and its digest."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.size_bytes = 0
        self.closed = False

    def write(self, content: Any) -> int:
        """Writes bytes, or a buffer of them."""
        data = memoryview(content).cast("B")
        self._stream.write(data)
        self.digest.update(data)
        self.size_bytes += len(data)
        return len(data)

    def tell(self) -> int:
        """The bytes written."""
        return self.size_bytes

    def flush(self) -> None:
        """Flushes the stream."""
        self._stream.flush()

    def close(self) -> None:
        """Leaves the stream open: it is the caller's."""
        self.closed = True
