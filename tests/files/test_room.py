"""A place that cannot take the results is refused before the work, with what is needed and what is free."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from wrn_deploy.errors import DeployError
from wrn_deploy.files.room import check_room, check_writable


def test_a_folder_that_does_not_exist_is_judged_by_the_one_above_it(tmp_path: Path) -> None:
    assert check_writable(tmp_path / "a" / "b", "the bundle") == tmp_path
    check_room(tmp_path / "a" / "b", 1000, "the bundle")
    assert not (tmp_path / "a").exists()


def test_more_than_the_disk_has_is_refused_with_both_figures(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(DeployError, match=rf"^disk full: the bundle needs about .*B, .*B free at {tmp_path}: free"):
        check_room(tmp_path / "bundle", free * 2, "the bundle")


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="a file system without a size")
def test_a_file_system_that_does_not_say_its_size_is_tried() -> None:
    assert shutil.disk_usage("/proc").total == 0
    check_room(Path("/proc"), 10**12, "the bundle")


def test_a_file_on_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeployError, match=r"file is a file: expected a folder for the plan; choose another --out"):
        check_room(tmp_path / "file" / "bundle", 0, "the plan")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to every folder")
def test_a_folder_without_the_right_to_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(DeployError, match="is a folder that cannot be written to"):
        check_room(tmp_path / "bundle", 0, "the bundle")


def test_a_read_only_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda _path, mode: not mode & os.W_OK)  # as a file system mounted read-only does
    with pytest.raises(DeployError, match=f"^{tmp_path} is a folder that cannot be written to"):
        check_room(tmp_path, 0, "the bundle")
