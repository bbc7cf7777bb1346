"""Compiles the library with Python inside, its loader and its core, and tries a library; imports cffi when called."""

from __future__ import annotations

import os
import re
from importlib import resources
from pathlib import Path

from wrn_deploy.embed.environment import PythonEnvironment, find_compiler
from wrn_deploy.errors import MachineError
from wrn_deploy.process.children import run_child
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.version import __version__

__all__ = ["build_libraries", "try_library"]

LINK = "libwrn_runner.so"  # what -lwrn_runner finds
LIBRARY = f"{LINK}.1"
CORE = "libwrn_runner_core.so"
SOURCES = resources.files("wrn_deploy.embed") / "loader"
NATIVE = resources.files("wrn_deploy.native")  # whose header and version of symbols both libraries have
NO_SUCH_RUNNER = "/no/such/bundle"  # opening it must return WRN_ERROR with the runner's text


def build_libraries(environment: PythonEnvironment, folder: Path) -> None:
    """Writes the two libraries into `folder`; they must stay in one folder.

    Raises:
        MachineError: there is no compiler, or it fails; the text has its output.
    """
    compiler, folder = find_compiler(), folder.resolve()
    flags = ["-std=c11", "-O2", "-fPIC", "-fvisibility=hidden", "-shared", "-Wl,-z,nodelete"]
    with scratch_folder() as work:
        (work / "wrn_runner.h").write_text(_header(), encoding="utf-8")
        (work / "exports.map").write_bytes((NATIVE / "src" / "exports.map").read_bytes())
        for name in ("core.h", "loader.c"):
            (work / name).write_text(_source(name), encoding="utf-8")
        (work / "environment.h").write_text(_settings(environment), encoding="utf-8", errors="surrogateescape")
        _write_core(work / "core.c")
        loader = ["-Wall", "-Wextra", "-pthread", f"-Wl,-soname,{LIBRARY}", str(work / "loader.c"), "-ldl"]
        versions = f"-Wl,--version-script={work / 'exports.map'}"
        _compile([compiler, *flags, *loader, versions, "-o", str(folder / LIBRARY)])
        (folder / LINK).symlink_to(LIBRARY)
        headers = [f"-I{header}" for header in environment.headers]
        core = [*headers, f"-Wl,-soname,{CORE}", str(work / "core.c"), *environment.static, "-pthread", "-ldl"]
        _compile([compiler, *flags, *core, "-o", str(folder / CORE)])


def try_library(include: Path, folder: Path) -> None:
    """Runs a C program with the library in `folder`, which must get as far as opening a bundle.

    Raises:
        MachineError: it does not; the text is the library's.
    """
    program = (
        '#include <stdio.h>\n#include "wrn_runner.h"\n'
        "int main(void) { wrn_runner runner; "
        f'int32_t status = wrn_open("{NO_SUCH_RUNNER}", NULL, &runner); '
        'printf("%s", wrn_last_error()); return status; }\n'
    )
    with scratch_folder(folder) as made:
        source, tried = made.resolve() / "try.c", made.resolve() / "try"
        source.write_text(program, encoding="utf-8")
        # No path in -rpath, since -Wl splits it at commas, and the loader at colons.
        flags = [f"-I{include.resolve()}", f"-L{folder.resolve()}", "-Wl,-rpath,$ORIGIN/..", "-pthread"]
        _compile([find_compiler(), *flags, str(source), "-lwrn_runner", "-ldl", "-o", str(tried)])
        variables = {name: value for name, value in os.environ.items() if name != "WRN_RUNNER_PYTHON"}
        done = run_child([tried], env=variables)
    if done.returncode != 1 or NO_SUCH_RUNNER not in done.stdout:
        said = (done.stdout + done.stderr).strip() or f"it ended with {done.returncode}"
        raise MachineError(f"the library was built, but cannot open bundles: {said}")


def _write_core(target: Path) -> None:
    """Writes the core's source: cffi's code around core.c, for the types and calls in the headers."""
    from cffi import FFI

    ffi = FFI()
    ffi.cdef(_part(_header(), "types"))
    ffi.embedding_api(_part(_source("core.h"), "core"))
    ffi.embedding_init_code("pass  # core.c connects the calls, so that a failure is returned and not printed\n")
    types = '#include <stdio.h>\n#include "wrn_runner.h"\n'
    ffi.set_source("_wrn_core", types + _source("core.c"), compiler_verbose=0)  # else it prints
    ffi.emit_c_code(str(target))


def _source(name: str) -> str:
    return (SOURCES / name).read_text(encoding="utf-8")


def _header() -> str:
    return (NATIVE / "include" / "wrn_runner.h").read_text(encoding="utf-8")


def _part(header: str, mark: str) -> str:
    """The declarations of a header between its marks."""
    found = re.search(rf"/\* {mark}: begin \*/(.*)/\* {mark}: end \*/", header, re.DOTALL)
    assert found is not None, f"a header has no part {mark}"
    return found[1]


def _settings(environment: PythonEnvironment) -> str:
    """environment.h: the environment that the loader was built with."""
    values = {
        "VERSION": __version__,
        "PYTHON": environment.version,
        "PREFIX": environment.prefix,
        "EXECUTABLE": environment.executable,
        "BASE": environment.base,
        "STDLIB": environment.stdlib,
        "LIBPYTHON": environment.shared or "",
        "EXTRA": environment.extra or "",
        "CORE": CORE,
    }
    return "".join(f"#define WRN_{name} {_literal(str(value))}\n" for name, value in values.items())


def _literal(text: str) -> str:
    """A C string literal of a path's bytes."""
    plain = (
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}" for byte in os.fsencode(text)
    )
    return f'"{"".join(plain)}"'


def _compile(command: list[str]) -> None:
    done = run_child(command)
    if done.returncode == 0:
        return
    said = done.stderr.strip()
    if "recompile with -fPIC" in said:
        raise MachineError(
            "this Python has no shared libpython, and its archive was not made for shared libraries: install a Python "
            "with a shared one, for example with `PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install`, or one of uv "
            "or conda"
        )
    raise MachineError(
        f"{command[0]} cannot compile the C library: expected a C11 compiler and linker. It says: {said[-2000:]}"
    )
