"""A stream that goes forward alone: the content of plain and compressed files, and an end to each damaged one."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from wrn_deploy.data.containers.forward import ForwardStream
from wrn_deploy.errors import DamagedFile, OverLimit
from wrn_deploy.files.budget import raised

CONTENT = np.random.default_rng(0).bytes(200_000) + bytes(300_000)


@pytest.fixture(params=["plain", "gzip", "two members", "padded", "stored"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    half = len(CONTENT) // 2
    written = {
        "plain": CONTENT,
        "gzip": gzip.compress(CONTENT),
        "two members": gzip.compress(CONTENT[:half]) + gzip.compress(b"") + gzip.compress(CONTENT[half:]),
        "padded": gzip.compress(CONTENT) + bytes(100_000),
        "stored": gzip.compress(CONTENT, 0),
    }
    (tmp_path / "x").write_bytes(written[request.param])
    return tmp_path / "x"


@pytest.mark.parametrize("size", [512, 65_536, 70_001, 10**12])
def test_the_content_is_read_in_any_pieces(path: Path, size: int) -> None:
    with ForwardStream(path) as stream:
        parts = []
        while part := stream.read(size):
            parts.append(part)
        assert b"".join(parts) == CONTENT
        assert stream.tell() == len(CONTENT)


def test_it_goes_forward_and_never_back(path: Path) -> None:
    with ForwardStream(path) as stream:
        assert stream.seek(150_000) == 150_000
        assert stream.read(10) == CONTENT[150_000:150_010]
        for place in (0, 150_009, -1):
            with pytest.raises(ValueError, match=f"begins at byte {place}, before byte 150010"):
                stream.seek(place)
        with pytest.raises(ValueError, match="-1 bytes"):
            stream.read(-1)


def test_the_end_of_a_plain_file_is_known(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    with ForwardStream(tmp_path / "x") as stream:
        assert stream.plain_bytes == 3
        with pytest.raises(EOFError, match="it ends before byte 4"):
            stream.seek(4)
    (tmp_path / "x").write_bytes(gzip.compress(b"abc"))
    with ForwardStream(tmp_path / "x") as stream:
        assert stream.plain_bytes is None


def test_a_compressed_file_cut_anywhere_is_damaged(tmp_path: Path) -> None:
    whole = gzip.compress(CONTENT[:300])
    for size in range(2, len(whole)):
        (tmp_path / "x").write_bytes(whole[:size])
        with ForwardStream(tmp_path / "x") as stream, pytest.raises(EOFError):
            stream.read(1000)


def test_what_is_inflated_too_far_is_over_the_limit(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(gzip.compress(bytes(80 * 2**20), 1))
    with ForwardStream(tmp_path / "x") as stream:
        with pytest.raises(OverLimit, match=r"x needs \d+ times the size of the file, inflated: the limit is 200"):
            stream.seek(80 * 2**20)
        assert stream.tell() <= 65 * 2**20
    with raised("ratio=2000"), ForwardStream(tmp_path / "x") as stream:
        assert stream.seek(80 * 2**20) == 80 * 2**20


def test_a_fifo_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    with pytest.raises(DamagedFile, match="x is a FIFO"):
        ForwardStream(tmp_path / "x")
