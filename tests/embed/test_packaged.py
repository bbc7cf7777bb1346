"""The library that came with the wheel: taken without a compiler if it runs here, and noted and built anew if not."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, cli  # noqa: F401
from tests.embed.conftest import build_library
from wrn_deploy import __version__
from wrn_deploy.embed import packaged
from wrn_deploy.embed.package import write_package
from wrn_deploy.errors import MachineError
from wrn_deploy.pipeline.inspection.doctor import diagnose
from wrn_deploy.progress import Silent


class Noted(Silent):
    """Keeps what was noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def built(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a wheel has of the library: without links, and without ONNX Runtime and the example, which `embed` adds.

    There are no tools to build another.
    """
    library = build_library("native", tmp_path_factory)
    made = tmp_path / "built"
    shutil.copytree(library, made, ignore=shutil.ignore_patterns("libonnxruntime*", "onnxruntime", "example"))
    (made / "lib" / "libwrn_runner.so").unlink()
    monkeypatch.setattr(packaged, "BUILT", made)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    return made


def test_it_is_taken_without_a_compiler(cli: Cli, built: Path, tmp_path: Path) -> None:  # noqa: F811
    outcome = cli("embed", "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "copy the C library" in outcome.err
    assert "The library came with the package.\n" in outcome.out
    made = tmp_path / "out"
    assert (made / "lib" / "libwrn_runner.so").readlink() == Path("libwrn_runner.so.1")
    names = {str(path.relative_to(built)) for path in built.rglob("*") if path.is_file()}
    added = {"lib/libwrn_runner.so", "lib/libonnxruntime.so.1", "example/classify.cpp", "example/CMakeLists.txt"}
    there = {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()}
    assert names | added <= there
    assert cli("embed", "--out", tmp_path / "out", "--json").json()["packaged"] is True
    assert ctypes.CDLL(str(made / "lib" / "libwrn_runner.so")).wrn_abi_version() > 0
    assert diagnose().steps["embed"] is None


def test_headers_ask_for_a_new_one(cli: Cli, built: Path, tmp_path: Path) -> None:  # noqa: F811
    assert built.is_dir()
    outcome = cli("embed", "--out", tmp_path / "out", "--headers", tmp_path)
    assert outcome.code == 4
    assert "there is no cmake" in outcome.err


@pytest.mark.parametrize(
    ("change", "said"), [("text", ["invalid ELF header"]), ("version", ["(0.0.1 1 "]), ("nothing", [])]
)
def test_another_is_built_if_it_does_not_run_here(built: Path, tmp_path: Path, change: str, said: list[str]) -> None:
    file = built / "lib" / "libwrn_runner.so.1"
    content, version = file.read_bytes(), __version__.encode() + b"\0"
    assert content.count(version) == 1
    file.unlink()
    if change != "nothing":
        file.write_bytes(b"not a library" * 100 if change == "text" else content.replace(version, b"0.0.1\0"))
    progress = Noted()
    with pytest.raises(MachineError, match="there is no cmake: install it"):
        write_package(tmp_path / "out", progress)
    assert not (tmp_path / "out").exists()
    for note, part in zip(progress.notes, said, strict=True):
        assert part in note
        assert note.endswith("the library is built instead")
    obstacle = diagnose().steps["embed"]
    assert obstacle is not None
    assert obstacle.startswith("there is no cmake")
