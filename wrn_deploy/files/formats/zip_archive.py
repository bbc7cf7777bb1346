"""Opens .zip archives from outside: their list of members is checked before any is read; the standard library only."""

from __future__ import annotations

import os
import struct
import zipfile
from typing import BinaryIO

from wrn_deploy.errors import DamagedFile
from wrn_deploy.files.budget import budget

__all__ = ["ZIP", "directory_bytes", "open_zip"]

ZIP = b"PK\x03\x04"  # the first bytes of an archive with members
END, END_BYTES, COMMENT_BYTES = b"PK\x05\x06", 22, 65535
LARGE_END, LARGE_LOCATOR_BYTES = b"PK\x06\x06", 20
ENTRY_BYTES = 46  # the least that the list has for a member
HEADER_BYTES = 30  # the least that stands before a member's content
ENCRYPTED = 1


def open_zip(stream: BinaryIO, name: object) -> zipfile.ZipFile:
    """Opens the archive in the regular file `stream`; two readers cannot see different members in it.

    Its members are stored or deflated, without encryption; no two overlap or have the same name but for case; nothing
    stands before the first; and together they inflate to no more than the budget allows.

    Raises:
        DamagedFile: it is not such an archive.
        OverLimit: it has too many members, or they inflate to too much.
    """
    try:
        budget().check("parts", directory_bytes(stream) // ENTRY_BYTES, name)
        archive = zipfile.ZipFile(stream)
    except (zipfile.BadZipFile, NotImplementedError, OSError, struct.error, ValueError) as error:
        raise _damaged(name, error) from error
    try:
        _check_members(archive, name)
    except BaseException:
        archive.close()
        raise
    return archive


def _check_members(archive: zipfile.ZipFile, name: object) -> None:
    members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    for member in members:
        if member.flag_bits & ENCRYPTED or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _damaged(name, f"{member.filename!r} is encrypted, or compressed by method {member.compress_type}")
        if member.compress_type == zipfile.ZIP_STORED and member.file_size != member.compress_size:
            raise _damaged(name, f"{member.filename!r} has {member.compress_size:,} of {member.file_size:,} bytes")
    ends = [member.header_offset + HEADER_BYTES + member.compress_size for member in members]
    starts = [*(member.header_offset for member in members), archive.start_dir]
    if starts[0] != 0 or any(end > start for end, start in zip(ends, starts[1:], strict=True)):
        raise _damaged(name, "members overlap, or do not begin with the file")
    if len({member.filename.lower() for member in members}) < len(members):
        raise _damaged(name, "two members have the same name")
    compressed = sum(member.compress_size for member in members)
    budget().check_inflated(sum(member.file_size for member in members), compressed, name)


def directory_bytes(stream: BinaryIO) -> int:
    """The size of the list of members, from the record at the archive's end."""
    size = stream.seek(0, os.SEEK_END)
    start = max(0, size - END_BYTES - COMMENT_BYTES - LARGE_LOCATOR_BYTES)
    stream.seek(start)
    tail = stream.read(size - start)
    place = tail.rfind(END)
    if place < 0:
        raise zipfile.BadZipFile("it has no list of members at its end")
    directory: int = struct.unpack_from("<L", tail, place + 12)[0]
    if directory == 2**32 - 1 and place >= LARGE_LOCATOR_BYTES:
        directory = _large_directory_bytes(stream, tail, place)
    if directory > size:
        raise zipfile.BadZipFile(f"a list of members of {directory:,} bytes")
    return directory


def _large_directory_bytes(stream: BinaryIO, tail: bytes, place: int) -> int:
    (record,) = struct.unpack_from("<Q", tail, place - LARGE_LOCATOR_BYTES + 8)
    stream.seek(record)
    large = stream.read(48)
    if not large.startswith(LARGE_END):
        raise zipfile.BadZipFile("its list of members is not where it should be")
    return int(struct.unpack_from("<Q", large, 40)[0])


def _damaged(name: object, reason: object) -> DamagedFile:
    return DamagedFile(f"{name} is a damaged .zip archive ({reason}): expected an intact file; copy it again")
