"""Archives whose list of members lies: refused before a member is read; honest ones of any writer are opened."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest

from wrn_deploy.errors import DamagedFile, OverLimit
from wrn_deploy.files.budget import raised
from wrn_deploy.files.formats.zip_archive import open_zip


def write(file: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED, *, comment: bytes = b"") -> bytes:
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = comment
    return file.read_bytes()


def names(file: Path) -> list[str]:
    with file.open("rb") as stream, open_zip(stream, file) as archive:
        return archive.namelist()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("comment", [b"", b"a comment"])
def test_an_honest_archive_is_opened(method: int, comment: bytes, tmp_path: Path) -> None:
    write(tmp_path / "a.zip", {"x": b"1" * 1000, "y": b"", "z/": b""}, method, comment=comment)
    assert names(tmp_path / "a.zip") == ["x", "y", "z/"]


def test_an_archive_of_the_large_format_is_opened_and_its_list_limited(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w") as archive, archive.open("x", "w", force_zip64=True) as member:
        member.write(b"content")
    assert names(file) == ["x"]


def test_members_that_inflate_too_much_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.zip", {"x": bytes(80 * 2**20)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(OverLimit, match="times the size of the file, inflated"):
        names(tmp_path / "a.zip")


def test_many_members_are_refused_before_they_are_listed(tmp_path: Path) -> None:
    write(tmp_path / "a.zip", {str(index): b"" for index in range(300)})
    with raised("parts=100"), pytest.raises(OverLimit, match="parts to keep in memory"):
        names(tmp_path / "a.zip")


def test_two_members_of_the_same_name_are_refused_also_in_another_case(tmp_path: Path) -> None:
    write(tmp_path / "a.zip", {"a/data.pkl": b"1", "a/DATA.pkl": b"2"})
    with pytest.raises(DamagedFile, match="two members have the same name"):
        names(tmp_path / "a.zip")


def test_something_before_the_archive_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    file.write_bytes(b"PK\3\4 something" + write(file, {"x": b"1"}))
    with pytest.raises(DamagedFile, match="do not begin with the file"):
        names(file)


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    content = bytearray(write(file, {"x": b"1" * 100, "y": b"2" * 100}))
    second = content.rindex(b"PK\1\2")
    struct.pack_into("<L", content, second + 42, 0)  # both members have the first one's content
    file.write_bytes(content)
    with pytest.raises(DamagedFile, match="members overlap"):
        names(file)


def test_a_size_that_is_not_the_stored_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    content = bytearray(write(file, {"x": b"1" * 100}))
    struct.pack_into("<L", content, content.rindex(b"PK\1\2") + 24, 10**9)
    file.write_bytes(content)
    with pytest.raises(DamagedFile, match=r"'x' has 100 of 1,000,000,000 bytes"):
        names(file)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_are_refused(method: int, tmp_path: Path) -> None:
    write(tmp_path / "a.zip", {"x": b"1" * 100}, method)
    with pytest.raises(DamagedFile, match="compressed by method"):
        names(tmp_path / "a.zip")


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"PK\5\6" + bytes(17), b"PK\5\6" + b"\xff" * 18, bytes(100)])
def test_what_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DamagedFile, match=r"a\.zip is a damaged \.zip archive"):
        names(tmp_path / "a.zip")
