"""What `wrn-deploy embed` writes: headers for C and C++, a CMake package, an example; all or nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.cli.conftest import Cli, cli  # noqa: F401
from wrn_deploy import Runner, __version__
from wrn_deploy.embed import build, environment
from wrn_deploy.embed.calls import ABI_VERSION, connect
from wrn_deploy.embed.package import write_package
from wrn_deploy.errors import MachineError
from wrn_deploy.pipeline.inspection.doctor import diagnose
from wrn_deploy.progress import Silent

FILES = {
    "include/wrn_runner.h",
    "lib/libwrn_runner.so",
    "lib/libwrn_runner_core.so",
    "lib/cmake/wrn_runner/wrn_runnerConfig.cmake",
    "lib/cmake/wrn_runner/wrn_runnerConfigVersion.cmake",
    "example/classify.cpp",
    "example/CMakeLists.txt",
}
C_PROGRAM = '#include "wrn_runner.h"\nint main(void) { return wrn_abi_version() != WRN_ABI_VERSION; }\n'
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {".lock"}


def test_the_command_writes_the_folder_and_says_how_to_take_it_in(cli: Cli, tmp_path: Path) -> None:  # noqa: F811
    pytest.importorskip("cffi")
    outcome = cli("embed", "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert _files(tmp_path / "out") == FILES
    assert f"-DCMAKE_PREFIX_PATH={tmp_path}/out" in outcome.out
    record = cli("embed", "--out", tmp_path / "out", "--json").json()
    assert (record["folder"], set(record["files"])) == (str(tmp_path / "out"), FILES)
    assert _files(tmp_path / "out") == FILES, "a second call left something behind"


@pytest.mark.parametrize("standard", ["c99", "c11", "c17"])
def test_the_header_is_strict_c(library: Path, tmp_path: Path, standard: str) -> None:
    (tmp_path / "it.c").write_text(C_PROGRAM)
    command = ["cc", f"-std={standard}", *STRICT, f"-I{library / 'include'}", "-c", str(tmp_path / "it.c")]
    subprocess.run([*command, "-o", str(tmp_path / "it.o")], check=True)


@pytest.mark.parametrize("standard", ["c++11", "c++17", "c++20"])
def test_the_header_is_strict_cpp(library: Path, program: Path, tmp_path: Path, standard: str) -> None:
    del program  # it is skipped without a C++ compiler
    (tmp_path / "it.cpp").write_text(C_PROGRAM.replace("void", ""))
    compiler = shutil.which("g++") or "clang++"
    command = [compiler, f"-std={standard}", *STRICT, f"-I{library / 'include'}", "-c", str(tmp_path / "it.cpp")]
    subprocess.run([*command, "-o", str(tmp_path / "it.o")], check=True)


def test_every_call_of_the_header_is_exported_and_nothing_else(library: Path) -> None:
    header = (library / "include" / "wrn_runner.h").read_text()
    declared = set(re.findall(r"^WRN_API [^;]*?(wrn_\w+)\(", header, re.MULTILINE))
    command = ["nm", "-D", "--defined-only", str(library / "lib" / "libwrn_runner.so")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("no nm")
    assert {line.split()[-1] for line in done.stdout.splitlines()} == declared
    assert len(declared) > 10


def test_the_package_and_the_header_have_one_abi(library: Path) -> None:
    header = (library / "include" / "wrn_runner.h").read_text()
    assert f"#define WRN_ABI_VERSION {ABI_VERSION}\n" in header
    with pytest.raises(MachineError, match="the library has ABI 7, this wrn-deploy 2: run `wrn-deploy embed` again"):
        connect(None, None, 7)


@pytest.fixture(params=["compiler", "cmake"])
def example(request: pytest.FixtureRequest, library: Path, program: Path, tmp_path: Path) -> Path:
    """The example, built as its comments and the page say."""
    del program
    made = tmp_path / "build" / "classify"
    made.parent.mkdir()
    if request.param == "compiler":
        flags = ["-std=c++17", *STRICT, f"-I{library}/include", f"-L{library}/lib", f"-Wl,-rpath,{library}/lib"]
        compiler = shutil.which("g++") or "clang++"
        source = str(library / "example" / "classify.cpp")
        subprocess.run([compiler, *flags, source, "-lwrn_runner", "-pthread", "-o", str(made)], check=True)
        return made
    if shutil.which("cmake") is None:
        pytest.skip("no cmake")
    configure = ["cmake", "-S", str(library / "example"), "-B", str(made.parent), f"-DCMAKE_PREFIX_PATH={library}"]
    subprocess.run(configure, check=True, capture_output=True)
    subprocess.run(["cmake", "--build", made.parent], check=True, capture_output=True)
    return made


def test_the_example_names_the_classes_that_python_names(
    example: Path, made_bundle: Path, images: npt.NDArray[np.uint8], pixels: Path
) -> None:
    with Runner.open(made_bundle) as runner:
        wanted = runner.predict(images)
    done = subprocess.run([example, made_bundle, pixels], capture_output=True, text=True, check=True)
    best = [re.fullmatch(r"image (\d+): (\d) \((.*)\)", line) for line in done.stdout.splitlines()]
    assert [found and int(found[2]) for found in best] == list(wanted.argmax(axis=1))
    np.testing.assert_allclose([float(found[3]) for found in best if found], wanted.max(axis=1), atol=2e-3)
    failed = subprocess.run([example, "nowhere", pixels], capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("error: nowhere is not a bundle")


@pytest.mark.parametrize(("version", "fits"), [(__version__, True), ("0.0.1", False), ("0.9", False), ("1.0", False)])
def test_cmake_finds_the_versions_that_fit(library: Path, tmp_path: Path, version: str, fits: bool) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("no cmake")
    text = (
        f"cmake_minimum_required(VERSION 3.16)\nproject(it NONE)\nfind_package(wrn_runner {version} CONFIG REQUIRED)\n"
    )
    (tmp_path / "CMakeLists.txt").write_text(text)
    command = ["cmake", "-S", str(tmp_path), "-B", str(tmp_path / "b"), f"-DCMAKE_PREFIX_PATH={library}"]
    assert (subprocess.run(command, capture_output=True, check=False).returncode == 0) == fits


@pytest.mark.parametrize("name", ["co,mma", "co:lon", "=at", "@file", "-dash", "sp ace,'\"$(x)", "new\nline", "é"])
def test_a_folder_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pytest.importorskip("cffi")
    monkeypatch.chdir(tmp_path)
    write_package(Path(name), Silent())
    assert _files(tmp_path / name) == FILES
    assert sorted(path.name for path in (tmp_path / name / "lib").iterdir()) == [
        "cmake", "libwrn_runner.so", "libwrn_runner_core.so",
    ]  # fmt: skip


def test_the_printed_options_of_the_compiler_work_in_any_folder(
    cli: Cli,  # noqa: F811
    tmp_path: Path,
    program: Path,
) -> None:
    del program
    folder = tmp_path / "a b,c"
    outcome = cli("embed", "--out", folder)
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("g++:")]
    (tmp_path / "it.c").write_text(C_PROGRAM)
    options = line.removeprefix("g++:").strip()
    subprocess.run(f"cc it.c {options} -o it && ./it", shell=True, check=True, cwd=tmp_path)


@pytest.mark.parametrize("text", ["/plain/path", 'q"uo\\te?/???/', "new\nline\ttab\x01", "größe", "\udcff\udcfe123"])
def test_a_path_in_c_has_its_bytes(tmp_path: Path, text: str) -> None:
    source = f"#include <stdio.h>\nint main(void) {{ return fputs({build._literal(text)}, stdout) < 0; }}\n"
    (tmp_path / "it.c").write_text(source, encoding="ascii")
    subprocess.run(["cc", "-std=c11", str(tmp_path / "it.c"), "-o", str(tmp_path / "it")], check=True)
    assert subprocess.run([tmp_path / "it"], capture_output=True, check=True).stdout == os.fsencode(text)


def _nothing_is_left(folder: Path) -> None:
    assert not folder.exists()


def test_without_a_compiler_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cffi")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match=r"no C compiler \(cc, gcc or clang\): install one"):
        write_package(tmp_path / "out", Silent())
    _nothing_is_left(tmp_path / "out")


def test_a_compiler_that_fails_is_quoted_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cffi")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "cc").write_text("#!/bin/sh\necho 'no more disk' >&2\nexit 1\n")
    (tmp_path / "bin" / "cc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(MachineError, match=r"bin/cc cannot compile the C library.*It says: no more disk"):
        write_package(tmp_path / "out", Silent())
    _nothing_is_left(tmp_path / "out")


def test_an_archive_that_is_not_for_shared_libraries_says_what_to_install(tmp_path: Path) -> None:
    code = "int counter; int *address(void) { return &counter; }\n"
    (tmp_path / "it.c").write_text(code)
    object_file, archive = str(tmp_path / "it.o"), str(tmp_path / "libit.a")
    subprocess.run(["cc", "-fno-pic", "-mcmodel=small", "-c", str(tmp_path / "it.c"), "-o", object_file], check=True)
    subprocess.run(["ar", "rcs", archive, object_file], check=True)
    command = ["cc", "-shared", "-Wl,--whole-archive", archive, "-Wl,--no-whole-archive", "-o", str(tmp_path / "it.so")]
    with pytest.raises(MachineError, match="this Python has no shared libpython, and its archive was not made for"):
        build._compile(command)


def test_doctor_says_that_the_library_can_be_built(library: Path) -> None:
    assert (library / "include").is_dir()
    assert diagnose().steps["embed"] is None


def test_without_cffi_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = environment.importlib.util.find_spec  # type: ignore[attr-defined]
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None if name == "cffi" else find(name))  # type: ignore[attr-defined]
    with pytest.raises(MachineError, match=r"building the C library needs cffi, .* pip install 'cffi>") as error:
        write_package(tmp_path / "out", Silent())
    assert diagnose().steps["embed"] == str(error.value)
    _nothing_is_left(tmp_path / "out")


def test_a_build_that_fails_leaves_the_earlier_one(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(library, tmp_path / "out")
    (tmp_path / "out" / "include" / "wrn_runner.h").write_text("the earlier one")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match="no C compiler"):
        write_package(tmp_path / "out", Silent())
    assert _files(tmp_path / "out") == FILES
    assert (tmp_path / "out" / "include" / "wrn_runner.h").read_text() == "the earlier one"
