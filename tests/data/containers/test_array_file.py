"""Records with arrays: the same bytes for the same content, back unchanged; nothing is unpickled, and limits hold."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from tests.data.properties import quickly
from wrn_deploy.data.containers.array_file import Array, check_shape, pack_arrays, read_arrays, read_record
from wrn_deploy.errors import DamagedFile, OverLimit
from wrn_deploy.files.budget import raised

RECORD = {"name": "ü", "numbers": [1, 2.5, None], "nested": {"b": 1, "a": 2}}
ARRAYS: dict[str, Array] = {
    "counts": np.arange(12, dtype=np.int64).reshape(3, 4),
    "empty": np.zeros((0, 5), dtype=np.float32),
}


@quickly
@given(
    st.sampled_from([np.int64, np.int32, np.uint8, np.float32, np.bool_]).flatmap(
        lambda dtype: numpy_strategies.arrays(dtype, numpy_strategies.array_shapes(min_dims=1, max_dims=4, min_side=0))
    )
)
def test_an_array_comes_back_as_it_was(array: Any) -> None:
    record, arrays = read_arrays(pack_arrays({"a": 1}, {"x": array}), "it")
    assert record == {"a": 1}
    assert arrays["x"].dtype == array.dtype
    np.testing.assert_array_equal(arrays["x"], array)


def test_a_file_is_read_and_equal_content_makes_equal_bytes(tmp_path: Path) -> None:
    file = tmp_path / "shard.npz"
    file.write_bytes(pack_arrays(RECORD, ARRAYS))
    assert pack_arrays(RECORD, ARRAYS) == file.read_bytes()
    record, arrays = read_arrays(file)
    assert record == read_record(file) == RECORD
    assert [*record["nested"]] == ["b", "a"], "in its order"
    assert arrays.keys() == ARRAYS.keys()


def test_every_changed_byte_is_found_or_changes_nothing() -> None:
    """Some bytes of a .zip mean nothing, such as its times."""
    whole = pack_arrays(RECORD, ARRAYS)
    wrong = 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        try:
            record, arrays = read_arrays(bytes(damaged), "it")
        except DamagedFile:
            wrong += 1
            continue
        assert record == RECORD
        assert all(np.array_equal(found, ARRAYS[name]) for name, found in arrays.items())
        if len(arrays) < len(ARRAYS):  # of the members listed; `check_shape` finds those that are missing
            wrong += 1
    assert wrong > len(whole) / 2


@pytest.mark.parametrize("size", [0, 1, 50, 400])
def test_a_truncated_file_is_damaged(size: int) -> None:
    with pytest.raises(DamagedFile, match="it is a damaged"):
        read_arrays(pack_arrays(RECORD, ARRAYS)[:size], "it")


def test_a_missing_file_and_one_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(DamagedFile, match=r"none\.npz cannot be read \(No such file"):
        read_arrays(tmp_path / "none.npz")
    np.savez(tmp_path / "images.npz", images=np.zeros((2, 4, 4, 3), dtype=np.uint8))
    with pytest.raises(DamagedFile, match=r"images\.npz cannot be read .*record\.json.*expected a shard file"):
        read_arrays(tmp_path / "images.npz")


def test_nothing_is_unpickled() -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("record.json", "{}")
        stored = io.BytesIO()
        np.save(stored, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        archive.writestr("x.npy", stored.getvalue())
    with pytest.raises(DamagedFile, match=r"x\.npy has the type object"):
        read_arrays(content.getvalue(), "it")


def test_the_budget_holds() -> None:
    with raised("memory_bytes=50"), pytest.raises(OverLimit, match=r"it needs .* bytes in memory"):
        read_arrays(pack_arrays(RECORD, ARRAYS), "it")
    with raised("text_bytes=10"), pytest.raises(OverLimit, match=r"it needs .* bytes of text"):
        read_record(pack_arrays(RECORD, ARRAYS), "it")


@pytest.mark.parametrize(
    ("name", "dtype", "shape", "said"),
    [
        ("counts", np.int64, (4, 3), r"'counts' is int64 \(3, 4\): expected int64 \(4, 3\)"),
        ("counts", np.int32, (3, 4), r"expected int32 \(3, 4\)"),
        ("counts", np.int64, (None,), r"expected int64 \(N\)"),
        ("other", np.int64, (3, 4), "'other' is missing"),
    ],
)
def test_an_array_of_another_shape_is_named(name: str, dtype: Any, shape: tuple[int | None, ...], said: str) -> None:
    with pytest.raises(DamagedFile, match=said):
        check_shape(ARRAYS, name, dtype, shape)


def test_any_length_is_taken_where_none_is_given() -> None:
    assert check_shape(ARRAYS, "counts", np.int64, (None, 4)) is ARRAYS["counts"]
