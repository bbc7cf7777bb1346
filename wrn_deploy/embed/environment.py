"""The Python the library is built for: folders, headers and libpython; the standard library only."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.errors import MachineError, missing_package
from wrn_deploy.process.children import run_child

__all__ = ["PythonEnvironment", "embedding_obstacle", "find_compiler", "find_environment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonEnvironment:
    """The running Python environment.

    Attributes:
        prefix: its folder.
        executable: its program, from which Python finds everything else.
        base: the installation it was made from; `prefix` if it is not a virtual environment.
        version: as in "3.11".
        stdlib: the standard library's folder, relative to `base`.
        headers: the folders with Python.h.
        shared: libpython as a shared library; None if this Python has none.
        static: linker arguments for libpython as an archive, used if there is no shared one.
        extra: a folder to import `wrn_deploy` from; None if the environment finds the package itself.
    """

    prefix: Path
    executable: Path
    base: Path
    version: str
    stdlib: Path
    headers: tuple[Path, ...]
    shared: Path | None
    static: tuple[str, ...]
    extra: Path | None


def find_environment() -> PythonEnvironment:
    """Examines the running Python.

    Raises:
        MachineError: not on Linux, or no cffi, no headers, or no libpython that can be embedded.
    """
    if not sys.platform.startswith("linux"):
        raise MachineError(f"this is {sys.platform}: the C library can be built on Linux only")
    if importlib.util.find_spec("cffi") is None:
        raise missing_package("cffi", "embed", "building the C library")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    paths = sysconfig.get_paths()
    headers = tuple(dict.fromkeys(Path(paths[name]) for name in ("include", "platinclude")))
    if not any((folder / "Python.h").is_file() for folder in headers):
        raise MachineError(
            f"no Python.h in {headers[0]}: install the headers of Python {version}, for example with `apt install "
            f"python{version}-dev`, or use a Python from python.org, pyenv or uv, which has them"
        )
    shared = _shared()
    executable, base = Path(sys.executable), Path(sys.base_prefix)
    return PythonEnvironment(
        prefix=Path(sys.prefix),
        executable=executable,
        base=base,
        version=version,
        stdlib=Path(paths["stdlib"]).relative_to(base),
        headers=headers,
        shared=shared,
        static=_static(version) if shared is None else (),
        extra=_extra(executable),
    )


def embedding_obstacle() -> str | None:
    """Why no library can be built for the running Python, as far as is known in advance; None if it can."""
    try:
        find_environment()
        find_compiler()
    except MachineError as error:
        return str(error)
    return None


def find_compiler() -> str:
    """The C compiler; raises MachineError if there is none."""
    found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if found is None:
        raise MachineError("there is no C compiler (cc, gcc or clang): install one, for example with `apt install gcc`")
    return found


def _shared() -> Path | None:
    """libpythonX.Y.so.1.0, if the system or the installation has it."""
    name = sysconfig.get_config_var("INSTSONAME")
    if not sysconfig.get_config_var("Py_ENABLE_SHARED") or not name:
        return None
    folders = [sysconfig.get_config_var("LIBDIR"), str(Path(sys.base_prefix) / "lib")]
    return next((Path(folder) / name for folder in folders if folder and (Path(folder) / name).is_file()), None)


def _static(version: str) -> tuple[str, ...]:
    """Linker arguments that put Python into the library; whether the archive allows it shows in the build."""
    folders = [sysconfig.get_config_var("LIBPL"), sysconfig.get_config_var("LIBDIR")]
    names = (f"libpython{version}-pic.a", f"libpython{version}.a")
    for archive in (Path(folder) / name for name in names for folder in folders if folder):
        if archive.is_file():
            needs = f"{sysconfig.get_config_var('LIBS') or ''} {sysconfig.get_config_var('SYSLIBS') or ''}".split()
            return ("-Wl,--whole-archive", str(archive), "-Wl,--no-whole-archive", *needs)
    raise MachineError(
        f"Python {version} in {sys.base_prefix} has neither libpython{version}.so nor libpython{version}.a: expected "
        f"one to embed. Install it, for example with `apt install libpython{version}-dev`; with pyenv, "
        "`PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install`; Pythons of uv and conda have it"
    )


def _extra(executable: Path) -> Path | None:
    """This package's parent folder, unless the environment already imports it from there."""
    here = Path(__file__).resolve().parents[1]
    code = "import importlib.util as u; print(u.find_spec('wrn_deploy').submodule_search_locations[0])"
    done = run_child([executable, "-I", "-c", code])
    if done.returncode == 0 and Path(done.stdout.strip()).resolve() == here:
        return None
    return here.parent
