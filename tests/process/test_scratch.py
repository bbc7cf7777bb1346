"""Temporary folders: private, removed at the end, swept if their owner was killed, never anything that is not ours."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from wrn_deploy.errors import DeployError
from wrn_deploy.process import scratch
from wrn_deploy.process.scratch import (
    full_is_named,
    open_scratch_file,
    scratch_folder,
    sweep_temporary,
)

HOLD = "from wrn_deploy.process.scratch import scratch_folder\nimport sys, time\nfrom pathlib import Path\n"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own TMPDIR."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def owner_in(place: str) -> tuple[subprocess.Popen[str], Path]:
    """Another process with a folder of its own, in TMPDIR or within another folder, and a file in it."""
    program = HOLD + f"with scratch_folder({place}) as made:\n (made / 'in').mkdir(); (made / 'in' / 'file').touch()\n"
    program += " print(made, flush=True)\n time.sleep(3600)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def left_behind(temporary: Path, name: str = "wrn-deploy-scratch-abcdefgh") -> Path:
    folder = temporary / name
    folder.mkdir(mode=0o700)
    (folder / "file").write_text("left")
    return folder


def test_a_folder_is_private_and_goes_with_the_block(temporary: Path) -> None:
    with scratch_folder() as first, scratch_folder() as second:
        assert first.parent == second.parent == temporary
        assert first != second
        assert stat.S_IMODE(first.stat().st_mode) == 0o700
        (first / "file").write_text("text")
    assert [*temporary.iterdir()] == []


def fail(folder: Path | None = None) -> None:
    with scratch_folder(folder):
        raise KeyboardInterrupt


@pytest.mark.usefixtures("temporary")
def test_a_folder_goes_when_the_block_fails(tmp_path: Path, temporary: Path) -> None:
    for folder in (None, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            fail(folder)
    assert [*tmp_path.rglob("*")] == [temporary]


@pytest.mark.parametrize("sweep", [sweep_temporary, fail, open_scratch_file], ids=["command", "folder", "file"])
def test_what_a_killed_process_left_is_swept_and_what_a_living_one_has_is_not(sweep: object, temporary: Path) -> None:
    killed, left = owner_in("")
    living, kept = owner_in("")
    try:
        sweep_temporary()
        assert left.is_dir()
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert left.is_dir()
        if sweep is fail:
            with pytest.raises(KeyboardInterrupt):
                fail()
        else:
            sweep_temporary()
        assert [*temporary.iterdir()] == [kept]
        assert (kept / "in" / "file").exists()
    finally:
        living.kill()
        living.wait()


def test_a_folder_beside_the_output_is_swept_by_the_next_one(tmp_path: Path) -> None:
    place = tmp_path / "reports"
    place.mkdir()
    killed, left = owner_in(f"Path({str(place)!r})")
    assert left.parent == place
    assert left.name.startswith(".")
    killed.kill()
    killed.wait()
    with scratch_folder(place):
        assert not left.exists()
    assert [*place.iterdir()] == []


@pytest.mark.parametrize(
    "name", ["wrn-deploy-scratch", "wrn-deploy-scratch-abc", "wrn-deploy-scratch-abcdefgh-mine", "wrn-deploy-abcdefgh"]
)
def test_a_folder_of_another_name_stays(name: str, temporary: Path) -> None:
    folder = left_behind(temporary, name)
    sweep_temporary()
    assert (folder / "file").read_text() == "left"


def test_a_folder_that_others_may_read_is_not_ours(temporary: Path) -> None:
    folder = left_behind(temporary)
    folder.chmod(0o755)
    sweep_temporary()
    assert folder.exists()


def test_a_folder_of_another_user_stays(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = left_behind(temporary)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    sweep_temporary()
    assert folder.exists()


def test_no_link_is_followed(temporary: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o700)
    (mine / "file").write_text("text")
    link = temporary / "wrn-deploy-scratch-abcdefgh"
    link.symlink_to(mine)
    folder = left_behind(temporary, "wrn-deploy-scratch-abcdefgi")
    (folder / "link").symlink_to(mine)
    (folder / "inner").mkdir()
    (folder / "inner" / "link").symlink_to(mine / "file")
    os.mkfifo(folder / "fifo")
    sweep_temporary()
    assert [*temporary.iterdir()] == [link]
    assert (mine / "file").read_text() == "text"


@pytest.mark.parametrize("kind", ["file", "fifo"])
def test_what_is_no_folder_stays(kind: str, temporary: Path) -> None:
    path = temporary / "wrn-deploy-scratch-abcdefgh"
    path.touch() if kind == "file" else os.mkfifo(path)
    sweep_temporary()
    assert path.exists()


def test_a_new_folder_that_is_swept_before_it_is_locked_is_made_again(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    mkdtemp = tempfile.mkdtemp

    def swept(**options: Any) -> str:
        made.append(mkdtemp(**options))
        if len(made) == 1:
            sweep_temporary()
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", swept)
    with scratch_folder() as folder:
        assert folder.exists()
        assert [*temporary.iterdir()] == [folder]
    assert len(made) == 2


@pytest.mark.parametrize("made", [lambda: scratch_folder().__enter__(), open_scratch_file], ids=["folder", "file"])
@pytest.mark.parametrize("kind", ["missing", "file"])
def test_an_unusable_tmpdir_is_named(made: object, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "other"
    if kind == "file":
        place.touch()
    monkeypatch.setenv("TMPDIR", str(place))
    with pytest.raises(DeployError, match=rf"{place} cannot take temporary files .*TMPDIR"):
        made()  # type: ignore[operator]
    sweep_temporary()


def full(*files: Path) -> OSError:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *map(str, files[:1]))
    if len(files) == 2:
        error.filename2 = str(files[1])
    return error


def copied(error: OSError) -> None:
    with scratch_folder():
        raise error


def test_a_full_tmpdir_is_named_and_another_full_disk_is_not(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OSError, match="No space") as raised:
        copied(full(tmp_path / "bundle.onnx"))
    assert not isinstance(raised.value, DeployError)
    with pytest.raises(OSError, match="No space"):
        copied(full())  # TMPDIR has room: it was another disk
    monkeypatch.setattr(scratch, "_has_room", lambda _folder: False)
    with pytest.raises(DeployError, match=rf"{temporary} is full .*set TMPDIR"):
        copied(full())
    with pytest.raises(DeployError, match=rf"{temporary} is full"), full_is_named():
        raise full(tmp_path / "bundle.onnx", temporary / "copy")
    with pytest.raises(PermissionError), full_is_named():
        raise PermissionError(errno.EACCES, "no")
