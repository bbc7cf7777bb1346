"""Headers of safetensors that lie, repeat or nest: refused before the library reads them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from wrn_deploy.errors import DamagedFile, OverLimit
from wrn_deploy.files.budget import raised
from wrn_deploy.files.formats.safetensors_header import BITS, read_header


def write(folder: Path, header: Any, body: bytes = bytes(16), length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file = folder / "w.safetensors"
    file.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)
    return file


def tensor(start: int, end: int, shape: Any = None, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": [(end - start) // 4] if shape is None else shape, "data_offsets": [start, end]}


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
    tensors = {"a": torch.zeros(2, 3), "b": torch.zeros(0, 5), "c": torch.tensor(1), "d": torch.zeros(3).bfloat16()}
    (tmp_path / "w").write_bytes(save(tensors, metadata={"by": "é"}))
    assert read_header(tmp_path / "w") == {"by": "é"}
    (tmp_path / "w").write_bytes(save({}))
    assert read_header(tmp_path / "w") == {}


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"a": tensor(0, 12)}, "tensors of 12 bytes, but only 16 are there"),
        ({"a": tensor(0, 20)}, "tensors of 20 bytes, but only 16 are there"),
        ({"a": tensor(0, 8), "b": tensor(4, 16)}, "'b' begins at 4: expected 8"),
        ({"a": tensor(0, 4), "b": tensor(8, 16)}, "'b' begins at 8: expected 4"),
        ({"a": tensor(0, 16, [5])}, "'a' is "),
        ({"a": tensor(0, 16, [-2, -2])}, "'a' is "),
        ({"a": tensor(0, 16, [4.0])}, "'a' is "),
        ({"a": tensor(0, 16, [True, 4])}, "'a' is "),
        ({"a": tensor(0, 16, "4")}, "'a' is "),
        ({"a": tensor(0, 16, [2**62, 4])}, "'a' is "),
        ({"a": tensor(0, 16, dtype="F31")}, "'a' is "),
        ({"a": {**tensor(0, 16), "more": 1}}, "'a' is "),
        ({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0]}}, "'a' is "),
        ({"a": {"dtype": "F32", "shape": [4]}}, "'a' is "),
        ({"a": 5}, "'a' is "),
        ([], "a header that is not an object"),
        ({"__metadata__": {"x": 1}, "a": tensor(0, 16)}, "metadata that is not text"),
        ({"__metadata__": "x", "a": tensor(0, 16)}, "metadata that is not text"),
        (b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}, "a": 1}', "appears twice"),
        (b'{"a": \xff}', "codec can't decode"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": ', "expected JSON"),
        (b'{"a": ' + b"[" * 100_000, "nested too deep"),
        (b"{" + b'"a": [' * 5000, "expected JSON|nested too deep"),
    ],
)
def test_a_header_that_cannot_be_is_refused(header: Any, reason: str, tmp_path: Path) -> None:
    with pytest.raises(DamagedFile, match=reason):
        read_header(write(tmp_path, header))


@pytest.mark.parametrize("length", [2**63, 99_000_000, 1000])
def test_a_length_beyond_the_file_is_refused_before_it_is_read(length: int, tmp_path: Path) -> None:
    with pytest.raises(DamagedFile, match=rf"a header of {length:,} bytes in a file of"):
        read_header(write(tmp_path, {}, length=length))


def test_large_headers_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path, {str(index): tensor(0, 0) for index in range(300)}, b"")
    assert read_header(file) == {}
    for limit in ("text_bytes=1000", "parts=100"):
        with raised(limit), pytest.raises(OverLimit):
            read_header(file)


def test_the_types_are_those_of_the_library(tmp_path: Path) -> None:
    for name, bits in BITS.items():
        file = write(tmp_path, {"a": tensor(0, 2 * bits, [16], name)}, bytes(2 * bits))
        assert read_header(file) == {}
