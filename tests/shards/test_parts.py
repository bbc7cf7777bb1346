"""Parts: the same rows make the same bytes, however they are added, and a part that fails leaves no file."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet as pq

from wrn_deploy.errors import DamagedFile
from wrn_deploy.files.new_file import new_file
from wrn_deploy.shards.joined import Joined
from wrn_deploy.shards.parts import PartShape, PartWriter, Rows, open_part

SHAPE = PartShape(top_k=2, logits=3, features=4)


def rows(count: int, first: int = 0) -> Rows:
    generator = np.random.default_rng(first)
    return Rows(
        ids=[f"image {index}" for index in range(first, first + count)],
        source="a.tar",
        labels=np.arange(count) % 3 - 1,
        classes=generator.integers(0, 3, (count, 2)),
        scores=generator.random((count, 2)),
        logits=generator.random((count, 3)).astype(np.float32),
        features=generator.random((count, 4)).astype(np.float32),
    )


def write(*batches: Rows) -> bytes:
    stream = io.BytesIO()
    with PartWriter(stream, SHAPE, {"about": "a test"}) as part:
        for batch in batches:
            part.add(batch)
    assert (part.sha256, part.size_bytes) == (hashlib.sha256(stream.getvalue()).hexdigest(), len(stream.getvalue()))
    assert part.images == sum(len(batch.ids) for batch in batches)
    return stream.getvalue()


def test_a_part_has_all_columns_in_their_types() -> None:
    given = rows(5)
    table = pq.read_table(io.BytesIO(write(given)))
    kinds = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert kinds == {
        "id": "string", "source": "string", "label": "int64", "classes": "fixed_size_list<element: int32>[2]",
        "scores": "fixed_size_list<element: float>[2]", "logits": "fixed_size_list<element: float>[3]",
        "features": "fixed_size_list<element: float>[4]",
    }  # fmt: skip
    assert table.schema.metadata[b"about"] == b"a test"
    assert table["id"].to_pylist() == list(given.ids)
    assert table["source"].to_pylist() == ["a.tar"] * 5
    assert table["label"].to_pylist() == [None, 0, 1, None, 0]
    assert table["classes"].to_pylist() == given.classes.tolist()
    assert np.array_equal(np.array(table["scores"].to_pylist(), np.float32), given.scores.astype(np.float32))
    assert np.array_equal(np.array(table["logits"].to_pylist(), np.float32), given.logits)  # type: ignore[arg-type]
    assert np.array_equal(np.array(table["features"].to_pylist(), np.float32), given.features)  # type: ignore[arg-type]


def test_the_same_rows_make_the_same_bytes() -> None:
    batches = [rows(64, 64 * index) for index in range(100)]  # more than a row group
    assert write(*batches) == write(*batches)
    assert pq.ParquetFile(io.BytesIO(write(*batches))).num_row_groups == 2


def test_a_part_without_images_can_be_read() -> None:
    assert len(pq.read_table(io.BytesIO(write()))) == 0


def test_an_error_leaves_no_file_and_is_the_one_that_is_raised(tmp_path: Path) -> None:
    def fail() -> None:
        with new_file(tmp_path / "a") as stream, PartWriter(stream, SHAPE, {}) as part:
            part.add(rows(5))
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_while_a_part_is_written_is_its_own_error() -> None:
    class Full(io.BytesIO):
        def write(self, _content: object) -> int:
            raise OSError(28, "No space left on device")

    def fill() -> None:
        with PartWriter(Full(), SHAPE, {}) as part:
            for index in range(100):
                part.add(rows(64, index))

    with pytest.raises(OSError, match="No space left") as caught:
        fill()
    assert caught.value.errno == 28


def test_parts_are_joined_in_order(tmp_path: Path) -> None:
    for index in range(2):
        (tmp_path / str(index)).write_bytes(write(rows(5, 5 * index)))
    stream = io.BytesIO()
    with Joined(stream, {"about": "both"}) as joined:
        for index in range(2):
            with open_part(tmp_path / str(index)) as part:
                joined.add(part)
    table = pq.read_table(io.BytesIO(stream.getvalue()))
    assert table["id"].to_pylist() == [f"image {index}" for index in range(10)]
    assert table.schema.metadata[b"about"] == b"both"
    assert joined.sha256 == hashlib.sha256(stream.getvalue()).hexdigest()


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"PAR1 damaged PAR1")
    with pytest.raises(DamagedFile, match="part is damaged"), open_part(tmp_path / "part"):
        pass
