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
from wrn_deploy.errors import DeployError, OverLimit
from wrn_deploy.files.budget import raised

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
    with pytest.raises(DeployError, match=r"a is damaged \(unexpected end of data\): expected an intact tar file"):
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


def _header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    header = bytearray(BLOCK)
    header[: len(name)] = name
    header[100:108], header[124 : 124 + len(size)], header[156:157] = b"0000644\0", size, kind
    header[257:265] = b"ustar\x0000"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def _pax(kind: bytes = b"x", **values: object) -> bytes:
    body = b""
    for key, value in values.items():
        record = f" {key.replace('__', '.')}={value}\n"
        size = len(record)
        while len(f"{size}{record}") != size:
            size += 1
        body += f"{size}{record}".encode()
    return _header(b"pax", b"%011o\0" % len(body), kind) + body.ljust(-(-len(body) // BLOCK) * BLOCK, b"\0")


NONE, ENDING = b"%011o\0" % 0, bytes(2 * BLOCK)
BINARY_NEGATIVE = b"\xff" * 11 + b"\x00"  # base 256: -256
BINARY_HUGE = b"\x80" + (2**70).to_bytes(11, "big")
EXTENDED = {"L": b"L", "K": b"K", "x": b"x", "g": b"g", "X": b"X"}
IMPOSSIBLE = {
    "PAX, backwards": _header(b"1.png", NONE) + _pax(size=-1536) + _header(b"2.txt", NONE),
    "PAX for a folder": _header(b"1.png", NONE) + _pax(size=-1536) + _header(b"d/", NONE, b"5"),
    "PAX for an unknown kind": _header(b"1.png", NONE) + _pax(size=-2048) + _header(b"d", NONE, b"Z"),
    "PAX, huge": _pax(size=2**80) + _header(b"2.png", NONE),
    "PAX for all": _pax(b"g", size=-1536) + _header(b"1.png", NONE) + _header(b"2.png", NONE),
    "octal, backwards": _header(b"1.png", NONE) + _header(b"2.txt", b"-0000001000\0"),
    "octal, passed over": _header(b"1.png", NONE) + _header(b"2", b"-0000001000\0", b"5"),
    "octal, larger than the file": _header(b"1.png", b"77777777777\0"),
    "base 256, backwards": _header(b"1.png", NONE) + _header(b"2.txt", BINARY_NEGATIVE),
    "base 256, huge": _header(b"1.txt", BINARY_HUGE),
    "GNU sparse": _header(b"1.png", NONE, b"S"),
    "GNU sparse in PAX, 0.0": _pax(GNU__sparse__size=2**50, GNU__sparse__numblocks=1) + _header(b"1.png", NONE),
    "GNU sparse in PAX, 0.1": _pax(GNU__sparse__map="0,1,2,3") + _header(b"1.png", NONE),
    "GNU sparse in PAX, 1.0": _pax(GNU__sparse__major=1, GNU__sparse__minor=0, GNU__sparse__realsize=2**50)
    + _header(b"1.png", b"%011o\0" % BLOCK) + b"99999999\n".ljust(BLOCK, b"0"),
    **{f"{name} of 8 GB": _header(b"x", b"77777777777\0", kind) for name, kind in EXTENDED.items()},
    **{f"{name}, backwards": _header(b"x", b"-0000001000\0", kind) for name, kind in EXTENDED.items()},
    **{f"{name} of 2 MB": _header(b"x", b"%011o\0" % 2**21, kind) + bytes(2**21) for name, kind in EXTENDED.items()},
    **{f"a chain of {name}": (_header(b"x", b"%011o\0" % 9, kind) + b"9 path=a\n".ljust(BLOCK, b"\0")) * 50
       for name, kind in EXTENDED.items()},
}  # fmt: skip


@pytest.mark.parametrize("name", IMPOSSIBLE)
@pytest.mark.parametrize("compressed", [False, True])
def test_an_impossible_header_is_damage_at_once(tmp_path: Path, name: str, compressed: bool) -> None:
    content = IMPOSSIBLE[name] + ENDING
    assert _read(tmp_path / "a", gzip.compress(content) if compressed else content) is None


def test_what_extended_headers_say_is_read(tmp_path: Path) -> None:
    content = _pax(path="long/" * 30 + "a.png", size=3) + _header(b"x", NONE) + b"abc".ljust(BLOCK, b"\0")
    assert _read(tmp_path / "a", content + ENDING) == [("long/" * 30 + "a.png", b"abc")]


def test_members_are_counted_and_large_images_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(PLAIN)
    with raised("members=2"), pytest.raises(OverLimit, match="a needs 3 members: the limit is 2"):
        list(members(tmp_path / "a"))
    with raised("image_bytes=1000"):
        for member in members(tmp_path / "a"):
            if member.size_bytes > 1000:
                with pytest.raises(
                    OverLimit, match=r"00002\.png needs 1,200 bytes in one image file: the limit is 1,000"
                ):
                    member.read()
            else:
                member.read()
