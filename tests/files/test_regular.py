"""Opening: what is no regular file, or lies behind a link of a stranger's folder, is refused at once."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from wrn_deploy.errors import DamagedFile
from wrn_deploy.files.regular import open_regular


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [_fifo, _device, _folder])
def test_only_regular_files_are_opened(tmp_path: Path, make: object) -> None:
    make(tmp_path / "x")  # type: ignore[operator]
    with pytest.raises(DamagedFile, match=r"expected a regular file|links are not followed"):
        open_regular(tmp_path / "x")
    with pytest.raises(DamagedFile, match=r"expected a regular file|links are not followed"):
        open_regular("x", inside=tmp_path)


def test_a_socket_is_not_opened(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        with pytest.raises((DamagedFile, OSError)):
            open_regular(tmp_path / "s")


def test_the_users_own_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    with open_regular(tmp_path / "link") as stream:
        assert stream.read() == b"content"


@pytest.mark.parametrize("path", ["link", "linked/file", "deep/linked/file", "dangling"])
def test_no_link_inside_a_folder_is_followed(tmp_path: Path, path: str) -> None:
    outside = tmp_path / "outside"
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    outside.mkdir()
    (outside / "file").write_bytes(b"secret")
    (folder / "link").symlink_to(outside / "file")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "linked").symlink_to(outside)
    (folder / "deep" / "linked").symlink_to(outside)
    with pytest.raises(DamagedFile, match="links are not followed"):
        open_regular(path, inside=folder)


@pytest.mark.parametrize("path", ["../outside", "/etc/hostname", ".", "", "a/../../outside"])
def test_nothing_outside_of_a_folder_is_opened(tmp_path: Path, path: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "outside").write_bytes(b"secret")
    with pytest.raises(DamagedFile, match="outside"):
        open_regular(path, inside=tmp_path / "folder")


def test_files_inside_are_read_and_nothing_stays_open(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"content")
    before = len([*Path("/proc/self/fd").iterdir()])
    for _ in range(10):
        with open_regular("a/b/file", inside=tmp_path) as stream:
            assert stream.read() == b"content"
        with pytest.raises(FileNotFoundError):
            open_regular("a/b/missing", inside=tmp_path)
        with pytest.raises(DamagedFile):
            open_regular("a/b", inside=tmp_path)
    assert len([*Path("/proc/self/fd").iterdir()]) == before
