"""A child that crashes, hangs, lies or takes too much ends in an error that names the file; its parent goes on."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from wrn_deploy.errors import DamagedFile, DeployError, OverLimit
from wrn_deploy.files.budget import raised
from wrn_deploy.process.limited import allow_memory, read_limited

EXPECTED = "expected an intact file"


def copy(file: BinaryIO, output: BinaryIO, name: str) -> None:
    output.write(name.encode() + b" " + file.read())


def crash(_file: BinaryIO, _output: BinaryIO, _name: str) -> None:
    ctypes.string_at(0)


def hang(_file: BinaryIO, _output: BinaryIO, _name: str) -> None:
    time.sleep(60)


def spin(_file: BinaryIO, _output: BinaryIO, _name: str) -> None:
    while True:
        pass


def take_memory(_file: BinaryIO, _output: BinaryIO, _name: str) -> None:
    bytearray(2**30)


def take_what_is_allowed(_file: BinaryIO, output: BinaryIO, _name: str) -> None:
    allow_memory(2**30)
    output.write(b"%d" % len(bytearray(2**30)))


def write_much(_file: BinaryIO, output: BinaryIO, _name: str) -> None:
    output.writelines(bytes(2**20) for _ in range(2**10))


def refuse(file: BinaryIO, _output: BinaryIO, name: str) -> None:
    kind = {b"deploy": DeployError, b"damaged": DamagedFile, b"limit": OverLimit}[file.read()]
    raise kind(f"{name} is refused: é")


def fail(_file: BinaryIO, _output: BinaryIO, _name: str) -> None:
    raise LookupError("of the library")


def read(function: str, folder: Path, content: bytes = b"content") -> bytes:
    path = folder / "file"
    path.write_bytes(content)
    with path.open("rb") as file, read_limited(f"{__name__}:{function}", file, path, EXPECTED) as written:
        return written.read()


def test_the_child_reads_the_file_from_its_beginning(tmp_path: Path) -> None:
    assert read("copy", tmp_path) == f"{tmp_path / 'file'} content".encode()


def test_a_crash_is_damage_and_leaves_no_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DamagedFile, match=rf"file is damaged: .* failed \(SIGSEGV\): {EXPECTED}"):
        read("crash", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("function", ["hang", "spin"])
def test_a_child_that_does_not_end_is_stopped(function: str, tmp_path: Path) -> None:
    start = time.monotonic()
    with raised("seconds=2"), pytest.raises(OverLimit, match=r"was not read within 2 seconds: .* --limit seconds=20"):
        read(function, tmp_path)
    assert time.monotonic() - start < 20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much memory a process has")
def test_memory_is_limited_to_what_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(DamagedFile, match="it exceeded the memory limit"):
        read("take_memory", tmp_path)
    assert read("take_what_is_allowed", tmp_path) == b"1073741824"


def test_what_is_written_is_limited(tmp_path: Path) -> None:
    with raised("memory_bytes=1e6"), pytest.raises(DamagedFile, match=r"failed \((SIGXFSZ|OSError.*)\)"):
        read("write_much", tmp_path)


@pytest.mark.parametrize(
    ("content", "kind"), [(b"deploy", DeployError), (b"damaged", DamagedFile), (b"limit", OverLimit)]
)
def test_the_reader_s_own_errors_are_handed_on(content: bytes, kind: type[DeployError], tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="file is refused: é") as error:
        read("refuse", tmp_path, content)
    assert type(error.value) is kind


def test_any_other_error_is_damage(tmp_path: Path) -> None:
    with pytest.raises(DamagedFile, match=r"failed \(LookupError: of the library\)"):
        read("fail", tmp_path)


def test_limits_that_are_lower_already_stay(tmp_path: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_CPU)
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))
            os._exit(0 if read("copy", tmp_path).endswith(b"content") else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert resource.getrlimit(resource.RLIMIT_CPU) == before
    assert signal.getsignal(signal.SIGXCPU) == signal.SIG_DFL
