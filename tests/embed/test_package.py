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
from tests.embed.conftest import skip_without_tools
from wrn_deploy import Runner, __version__
from wrn_deploy.embed import build, environment
from wrn_deploy.embed.calls import ABI_VERSION, connect
from wrn_deploy.embed.package import write_package
from wrn_deploy.errors import MachineError
from wrn_deploy.pipeline.inspection.doctor import diagnose
from wrn_deploy.progress import Silent

ROOT = Path(__file__).resolve().parents[2]
BOTH = {
    "include/wrn_runner.h",
    "lib/libwrn_runner.so",
    "lib/libwrn_runner.so.1",
    "lib/cmake/wrn_runner/wrn_runnerConfig.cmake",
    "lib/cmake/wrn_runner/wrn_runnerConfigVersion.cmake",
    "lib/pkgconfig/wrn_runner.pc",
    "example/classify.cpp",
    "example/CMakeLists.txt",
    "share/doc/wrn_runner/LICENSE",
}
ONNXRUNTIME = {
    "lib/libonnxruntime.so.1", "share/doc/onnxruntime/LICENSE", "share/doc/onnxruntime/ThirdPartyNotices.txt",
}  # fmt: skip
FILES = {
    "native": {*BOTH, *ONNXRUNTIME, "lib/cmake/wrn_runner/wrn_runnerConfig-release.cmake"},
    "python": {*BOTH, "lib/libwrn_runner_core.so", "share/wrn_runner/lsan.supp"},
}
C_PROGRAM = '#include "wrn_runner.h"\nint main(void) { return wrn_abi_version() != WRN_ABI_VERSION; }\n'
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("option", "which"), [([], "native"), (["--python"], "python")])
def test_the_command_writes_the_folder_and_says_how_to_take_it_in(
    cli: Cli,  # noqa: F811
    tmp_path: Path,
    option: list[str],
    which: str,
) -> None:
    skip_without_tools(which)
    outcome = cli("embed", "--out", tmp_path / "out", *option)
    assert outcome.code == 0, outcome.err
    assert _files(tmp_path / "out") == FILES[which]
    assert f"-DCMAKE_PREFIX_PATH={tmp_path}/out" in outcome.out
    if which == "python":
        record = cli("embed", "--out", tmp_path / "out", "--python", "--json").json()
        assert (record["folder"], set(record["files"])) == (str(tmp_path / "out"), FILES[which])
        assert _files(tmp_path / "out") == FILES[which], "a second call left something behind"


def test_the_library_has_the_name_that_programs_are_linked_to(library: Path) -> None:
    if shutil.which("readelf") is None:
        pytest.skip("no readelf")
    command = ["readelf", "--dynamic", str(library / "lib" / "libwrn_runner.so")]
    dynamic = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Library soname: [libwrn_runner.so.1]" in dynamic
    assert not re.search(r"NEEDED.*(python|onnxruntime)", dynamic), "linked to what must be found at run time"
    assert (library / "lib" / "libwrn_runner.so").readlink() == Path("libwrn_runner.so.1")


def test_pkg_config_gives_the_options_of_the_compiler(library: Path, program: Path, tmp_path: Path) -> None:
    del program  # it is skipped without a C++ compiler
    if shutil.which("pkg-config") is None:
        pytest.skip("no pkg-config")
    moved = tmp_path / "moved"
    shutil.copytree(library, moved, symlinks=True)
    environment = {**os.environ, "PKG_CONFIG_PATH": str(moved / "lib" / "pkgconfig")}
    command = ["pkg-config", "--cflags", "--libs", "wrn_runner"]
    options = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.split()
    (tmp_path / "it.c").write_text(C_PROGRAM)
    linked = ["cc", str(tmp_path / "it.c"), *options, f"-Wl,-rpath,{moved}/lib", "-o", str(tmp_path / "it")]
    subprocess.run(linked, check=True)
    subprocess.run([tmp_path / "it"], check=True)
    version = subprocess.run(
        ["pkg-config", "--modversion", "wrn_runner"], check=True, capture_output=True, text=True, env=environment
    )
    assert version.stdout.strip() == __version__


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
    exported = {line.split()[-1] for line in done.stdout.splitlines()} - {"WRN_RUNNER_1"}
    assert exported == {f"{name}@@WRN_RUNNER_1" for name in declared}
    assert len(declared) > 10


def test_the_package_and_the_header_have_one_abi(library: Path) -> None:
    header = (library / "include" / "wrn_runner.h").read_text()
    assert f"#define WRN_ABI_VERSION {ABI_VERSION}\n" in header
    assert header == (ROOT / "native" / "include" / "wrn_runner.h").read_text(), "one header, two libraries"
    with pytest.raises(
        MachineError, match="the library has ABI 7, this wrn-deploy 2: run `wrn-deploy embed --python` again"
    ):
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
    write_package(Path(name), Silent(), python=True)
    assert _files(tmp_path / name) == FILES["python"]


def test_the_printed_options_of_the_compiler_work_in_any_folder(
    cli: Cli,  # noqa: F811
    tmp_path: Path,
    program: Path,
) -> None:
    del program
    folder = tmp_path / "a b,c"
    outcome = cli("embed", "--python", "--out", folder)
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
        write_package(tmp_path / "out", Silent(), python=True)
    with pytest.raises(MachineError, match=r"there is no cmake: install it, as in `apt install cmake`"):
        write_package(tmp_path / "out", Silent())
    (tmp_path / "cmake").symlink_to("/bin/true")
    with pytest.raises(MachineError, match=r"no C\+\+ compiler \(c\+\+, g\+\+ or clang\+\+\): install one"):
        write_package(tmp_path / "out", Silent())
    _nothing_is_left(tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, r"there is no onnxruntime_c_api.h in .*/headers: install ONNX Runtime's headers, with `apt install"),
        ("#define ORT_API_VERSION 16\n", r"onnxruntime_c_api.h has API 16: expected 17 or newer"),
        ("// nothing\n", r"onnxruntime_c_api.h names no ORT_API_VERSION: expected 17 or newer"),
    ],
)
def test_without_fitting_headers_the_command_that_gets_them_is_named(
    cli: Cli,  # noqa: F811
    tmp_path: Path,
    text: str | None,
    said: str,
) -> None:
    if shutil.which("cmake") is None or shutil.which("c++") is None:
        pytest.skip("no cmake, or no C++ compiler")
    (tmp_path / "headers").mkdir()
    if text is not None:
        (tmp_path / "headers" / "onnxruntime_c_api.h").write_text(text)
    outcome = cli("embed", "--out", tmp_path / "out", "--headers", tmp_path / "headers")
    assert outcome.code == 4
    assert re.search(said, " ".join(outcome.err.split()))
    _nothing_is_left(tmp_path / "out")


@pytest.mark.parametrize(("tool", "python"), [("cc", True), ("cmake", False)])
def test_a_tool_that_fails_is_quoted_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str, python: bool
) -> None:
    skip_without_tools("python" if python else "native")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / tool).write_text("#!/bin/sh\necho 'no more disk' >&2\nexit 1\n")
    (tmp_path / "bin" / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(MachineError, match=rf"bin/{tool} cannot (compile|build) the C.*It says: no more disk"):
        write_package(tmp_path / "out", Silent(), python=python)
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
    assert diagnose().steps["embed" if library.name == "native" else "embed --python"] is None


def test_without_cffi_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = environment.importlib.util.find_spec  # type: ignore[attr-defined]
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None if name == "cffi" else find(name))  # type: ignore[attr-defined]
    with pytest.raises(MachineError, match=r"building the C library needs cffi, .* pip install 'cffi>") as error:
        write_package(tmp_path / "out", Silent(), python=True)
    assert diagnose().steps["embed --python"] == str(error.value)
    _nothing_is_left(tmp_path / "out")


def test_a_build_that_fails_leaves_the_earlier_one(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(library, tmp_path / "out", symlinks=True)
    (tmp_path / "out" / "include" / "wrn_runner.h").write_text("the earlier one")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match=r"no C compiler|no cmake"):
        write_package(tmp_path / "out", Silent(), python=library.name == "python")
    assert _files(tmp_path / "out") == FILES[library.name]
    assert (tmp_path / "out" / "include" / "wrn_runner.h").read_text() == "the earlier one"
