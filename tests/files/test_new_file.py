"""A new file: whole or not there, under a random name, no link followed, nothing left after an error."""

from __future__ import annotations

import ast
import os
import stat
import threading
from pathlib import Path

import pytest

from wrn_deploy.errors import DeployError
from wrn_deploy.files.new_file import new_file, remove_leftovers, write_whole

ROOT = Path(__file__).resolve().parents[2]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("content", [b"\0\xff", "ü\r\n\u2028"])
def test_the_content_is_written_as_it_is(tmp_path: Path, content: bytes | str) -> None:
    write_whole(tmp_path / "a", content)
    assert (tmp_path / "a").read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert names(tmp_path) == ["a"]


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_text("old")
    with new_file(target) as stream:
        stream.write(b"new")
        stream.flush()
        assert target.read_text() == "old"
        (other,) = set(names(tmp_path)) - {"a"}
        assert other.startswith(".new-")
    assert target.read_text() == "new"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_alone(tmp_path: Path, error: type[BaseException]) -> None:
    def stop_halfway() -> None:
        with new_file(target) as stream:
            stream.write(b"half")
            raise error

    target = tmp_path / "a"
    target.write_text("old")
    with pytest.raises(error):
        stop_halfway()
    assert (names(tmp_path), target.read_text()) == (["a"], "old")


def test_a_full_disk_is_reported_for_the_target(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space") as caught, new_file(tmp_path / "a"):
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(tmp_path / "a")
    with pytest.raises(OSError, match="No such file") as caught:
        write_whole(tmp_path / "missing" / "a", "")
    assert caught.value.filename == str(tmp_path / "missing" / "a")
    with pytest.raises(OSError, match="elsewhere") as caught, new_file(tmp_path / "a"):
        (tmp_path / "elsewhere").read_bytes()
    assert caught.value.filename == str(tmp_path / "elsewhere")


@pytest.mark.parametrize("there", [True, False], ids=["a file's", "nothing's"])
def test_a_link_is_replaced_and_not_followed(tmp_path: Path, there: bool) -> None:
    victim, target = tmp_path / "victim", tmp_path / "a"
    if there:
        victim.write_text("precious")
    target.symlink_to(victim)
    write_whole(target, "new")
    assert not target.is_symlink()
    assert target.read_text() == "new"
    assert victim.exists() == there
    assert not there or victim.read_text() == "precious"


def test_what_is_in_the_way_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    monkeypatch.setattr("secrets.token_hex", lambda _bytes: "guessed")
    (tmp_path / ".new-guessed.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "a", "new")
    assert victim.read_text() == "precious"


def test_names_are_random(tmp_path: Path) -> None:
    with new_file(tmp_path / "a"):
        first = names(tmp_path)
    with new_file(tmp_path / "a"):
        assert not set(first) & set(names(tmp_path)) - {"a"}


def test_devices_pipes_and_folders_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    for target, kind in ((tmp_path, "a folder"), (tmp_path / "pipe", "a pipe"), (tmp_path / "link", "a device")):
        with pytest.raises(DeployError, match=kind):
            write_whole(target, "new")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    assert names(tmp_path) == ["link", "pipe"]


def test_the_mode_is_that_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "a").chmod(0o600)
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "a", "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_readers_never_see_a_half(tmp_path: Path) -> None:
    target, contents, seen = tmp_path / "a", [bytes([letter]) * 100_000 for letter in b"ab"], set[bytes]()
    write_whole(target, contents[0])

    def write(content: bytes) -> None:
        for _ in range(50):
            write_whole(target, content)

    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        seen.add(target.read_bytes())
    assert seen <= set(contents)
    assert names(tmp_path) == ["a"]


def test_leftovers_of_killed_processes_can_be_removed(tmp_path: Path) -> None:
    for name in (".new-0123.tmp", "a", ".new", "b.tmp"):
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [".new", "a", "b.tmp"]


# Writes into folders that have just been made under a random name, where nobody can have put a link.
OWN_FOLDERS = {
    "wrn_deploy/bundle.py", "wrn_deploy/embed/package.py", "wrn_deploy/files/staging.py",
    "wrn_deploy/bench/measuring/accuracy.py",
    "wrn_deploy/pipeline/engines/build.py", "wrn_deploy/pipeline/finetuning/finetune.py",
    "wrn_deploy/pipeline/quantization/writing.py", "wrn_deploy/pipeline/quantization/overlap.py",
    "wrn_deploy/pipeline/tuning/engine.py", "wrn_deploy/pipeline/tuning/tune.py", "calib/collection/collect.py",
    "benchmarks/int8/candidate.py",
    "benchmarks/int8/peers.py", "benchmarks/int8/processes.py", "benchmarks/reliability/bit_flips.py",
    "benchmarks/gpu/experiments/tests.py", "benchmarks/gpu/prepare.py", "benchmarks/gpu/supervise.py",
}  # fmt: skip


def test_every_other_file_is_written_whole() -> None:
    """No other place writes files by itself: a new one must use new_file, or be added above with that reason."""
    found = set()
    for folder in ("wrn_deploy", "export", "calib", "engines", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not any(part.is_symlink() for part in path.parents) and _writes(path.read_text(encoding="utf-8")):
                found.add(name)
    assert not found - OWN_FOLDERS - {"wrn_deploy/files/new_file.py"}


def _writes(source: str) -> bool:
    """Whether it writes a file outside of the folders that `process/scratch.py` and `files/staging.py` make."""
    tree = ast.parse(source)
    given = [node for node in ast.walk(tree) if isinstance(node, ast.With) and any(map(_is_given, node.items))]
    inside = {id(node) for block in given for node in ast.walk(block)}
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and id(node) not in inside)
    return any(map(_is_writing, calls))


def _is_given(item: ast.withitem) -> bool:
    call = item.context_expr
    return isinstance(call, ast.Call) and ast.unparse(call.func) in ("scratch_folder", "staging")


def _is_writing(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name == "open":
        modes = [text for one in call.args for text in _strings(one) if set(text) <= set("rwabtx+")]
        return any(set(mode) & set("wax+") for mode in modes)
    return name in ("write_text", "write_bytes", "save_file", "tofile")


def _strings(node: ast.AST) -> list[str]:
    return [one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)]


@pytest.mark.parametrize(
    ("source", "writes"),
    [
        ("path.write_text('a')", True),
        ("path.open('w')", True),
        ("open(path, 'ab')", True),
        ("path.open('wb' if new else 'rb')", True),
        ("path.open()", False),
        ("path.open('rb')", False),
        ("write_whole(path, 'w')", False),
        ("with scratch_folder() as made:\n    made.write_text('a')", False),
        ("with other() as made:\n    made.write_text('a')", True),
    ],
)
def test_the_check_itself_sees_a_writer(source: str, writes: bool) -> None:
    assert _writes(source) is writes
