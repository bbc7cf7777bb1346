"""Every small damage to a tar file is an error, unless nothing of its content is lost."""

from __future__ import annotations

import gzip
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from tests.data.conftest import add_file
from wrn_deploy.data.containers.tar_stream import is_tar, members
from wrn_deploy.errors import DeployError

FILES = [(f"{index:05}.png", np.random.default_rng(index).bytes(600 * index)) for index in range(3)]
BLOCK = tarfile.BLOCKSIZE
HEADERS = (0, BLOCK, 4 * BLOCK)  # of files that fill 0, 2 and 3 blocks
END = 8 * BLOCK  # where the zeros begin
SUM = range(148, 156)  # a header's bytes that hold its checksum


def _packed() -> bytes:
    stream = BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in FILES:
            add_file(archive, name, content)
    return stream.getvalue()


PLAIN = _packed()
ZIPPED = gzip.compress(PLAIN[: END + 2 * BLOCK], mtime=0)


def _read(path: Path, content: bytes) -> list[tuple[str, bytes]] | None:
    """The archive's files; None if it is called damaged."""
    path.write_bytes(content)
    try:
        return [(member.name, member.read()) for member in members(path)]
    except DeployError:
        return None


def _flipped(content: bytes, byte: int) -> bytes:
    damaged = bytearray(content)
    damaged[byte] ^= 1 << byte % 8
    return bytes(damaged)


def test_an_undamaged_archive_is_read(tmp_path: Path) -> None:
    assert _read(tmp_path / "a", PLAIN) == _read(tmp_path / "a", ZIPPED) == FILES
    assert is_tar(tmp_path / "a")


def test_a_truncated_tar_is_damaged_up_to_its_end_mark(tmp_path: Path) -> None:
    for size in range(0, len(PLAIN), 64):
        assert _read(tmp_path / "a", PLAIN[:size]) == (FILES if size >= END + BLOCK else None), size


def test_a_truncated_tar_gz_is_damaged(tmp_path: Path) -> None:
    for size in range(len(ZIPPED)):
        assert _read(tmp_path / "a", ZIPPED[:size]) is None, size


@pytest.mark.parametrize("start", HEADERS)
def test_a_flipped_bit_in_a_header_is_damage(tmp_path: Path, start: int) -> None:
    for byte in range(BLOCK):
        found = _read(tmp_path / "a", _flipped(PLAIN, start + byte))
        assert found is None or (byte in SUM and found == FILES), byte  # a digit 0 may become a space


def test_a_flipped_bit_in_the_end_mark_is_damage(tmp_path: Path) -> None:
    for byte in range(END, END + BLOCK):
        assert _read(tmp_path / "a", _flipped(PLAIN, byte)) is None, byte


def test_a_flipped_bit_in_a_tar_gz_is_damage(tmp_path: Path) -> None:
    found = [_read(tmp_path / "a", _flipped(ZIPPED, byte)) for byte in range(len(ZIPPED))]
    assert all(files in (None, FILES) for files in found)
    assert sum(files is not None for files in found) <= 8  # flags, time and system (bytes 3 to 9), and a bit of padding


@pytest.mark.parametrize("start", range(0, END + BLOCK, BLOCK))
def test_a_missing_block_is_damage(tmp_path: Path, start: int) -> None:
    found = _read(tmp_path / "a", PLAIN[:start] + PLAIN[start + BLOCK : END + BLOCK])
    assert found == (FILES[1:] if start == 0 else None)  # an empty file is its header


def test_content_that_ends_while_it_is_read_is_damage(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(PLAIN[: HEADERS[2] + BLOCK + 600])
    found = members(tmp_path / "a")
    last = [next(found) for _ in FILES][-1]
    with pytest.raises(DeployError, match=r"a is damaged \(unexpected end of data\): expected a whole tar file"):
        last.read()


@pytest.mark.parametrize("size", ["-0000000001\0", "77777777777\0"])
def test_an_impossible_size_is_damage(tmp_path: Path, size: str) -> None:
    header = bytearray(PLAIN[:BLOCK])
    header[124:136] = size.encode()
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    assert _read(tmp_path / "a", bytes(header) + PLAIN[BLOCK:]) is None


def test_long_names_without_end_are_damage(tmp_path: Path) -> None:
    header = tarfile.TarInfo("long")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1
    assert _read(tmp_path / "a", (header.tobuf() + b"x".ljust(BLOCK, b"\0")) * 5000) is None
