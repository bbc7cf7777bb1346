"""The library with Python inside finds it: recorded, named, moved, broken; linked, or within it; in other hosts."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from tests.embed.conftest import Driver
from wrn_deploy.embed.build import build_libraries, try_library
from wrn_deploy.embed.environment import _static, find_environment
from wrn_deploy.errors import MachineError

pytestmark = pytest.mark.parametrize("library", ["python"], indirect=True, scope="session")

ROOT = Path(__file__).resolve().parents[2]
EMBED = "import sys; sys.path.insert(0, sys.argv[1]); from wrn_deploy.cli import main; del sys.argv[1]; main()"


def _environment(folder: Path, *lines: str) -> Path:
    """A virtual environment whose path is ours."""
    venv.create(folder, symlinks=True)
    there = next(folder.glob("lib/python*/site-packages"))
    (there / "more.pth").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """An environment of its own, with all packages of ours."""
    return _environment(tmp_path / "env", str(Path(np.__file__).parents[1]))


@pytest.fixture
def moving(own: Path, tmp_path: Path, program: Path) -> Path:
    """The folder of libraries that were built with that environment."""
    del program
    arguments = ["-I", "-c", EMBED, str(ROOT), "embed", "--python", "--out", str(tmp_path / "built")]
    subprocess.run([own / "bin" / "python3", *arguments], check=True, capture_output=True)
    return tmp_path / "built" / "lib"


def test_an_environment_that_is_gone_is_an_error_until_its_new_place_is_named(
    drive: Driver, own: Path, moving: Path, made_bundle: Path
) -> None:
    given = ("open", made_bundle, "onnxruntime", "-")
    assert drive(*given, LD_PRELOAD=str(moving / "libwrn_runner.so")).statuses == [0, 0, 0, 0]
    moved = own.rename(own.with_name("moved"))
    ran = drive(*given, LD_PRELOAD=str(moving / "libwrn_runner.so"))
    assert (ran.code, ran.err, ran.statuses) == (0, "", [4, 4])
    expected = f"the Python environment {own} that this library was built with is gone (no {own}/bin/python3): set WRN_"
    assert ran.messages[0].startswith(expected)
    named = drive(*given, LD_PRELOAD=str(moving / "libwrn_runner.so"), WRN_RUNNER_PYTHON=str(moved))
    assert (named.err, named.statuses) == ("", [0, 0, 0, 0])


def test_the_library_may_be_moved(library: Path, drive: Driver, made_bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(library / "lib", tmp_path / "elsewhere")
    preload = str(tmp_path / "elsewhere" / "libwrn_runner.so")
    assert drive("open", made_bundle, "onnxruntime", "-", LD_PRELOAD=preload).statuses == [0, 0, 0, 0]
    (tmp_path / "elsewhere" / "libwrn_runner_core.so").unlink()
    ran = drive("open", made_bundle, "onnxruntime", "-", LD_PRELOAD=preload)
    assert (ran.code, ran.err, ran.statuses) == (0, "", [4, 4])
    assert "keep both files in one folder" in ran.messages[0]


def test_a_folder_that_is_no_environment_is_an_error(drive: Driver, made_bundle: Path, tmp_path: Path) -> None:
    ran = drive("open", made_bundle, "-", "-", WRN_RUNNER_PYTHON=str(tmp_path))
    assert (ran.code, ran.err, ran.statuses) == (0, "", [4, 4])
    assert ran.messages[0].startswith(f"WRN_RUNNER_PYTHON is {tmp_path}, which has no bin/python3: expected")


def test_an_environment_whose_installation_is_gone_is_an_error(
    drive: Driver, own: Path, made_bundle: Path, tmp_path: Path
) -> None:
    settings = own / "pyvenv.cfg"
    settings.write_text(settings.read_text().replace(sys.base_prefix, str(tmp_path / "gone")))
    ran = drive("open", made_bundle, "-", "-", WRN_RUNNER_PYTHON=str(own))
    assert (ran.code, ran.err, ran.statuses) == (0, "", [4, 4])
    assert f"whose Python has no {tmp_path}/gone/lib/python" in ran.messages[0]


def test_a_python_that_cannot_start_is_an_error_every_time(drive: Driver, made_bundle: Path, tmp_path: Path) -> None:
    """Python itself prints its paths then; the process goes on."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    stdlib = tmp_path / "lib" / name
    for file in (tmp_path / "bin" / name, stdlib / "encodings" / "__init__.py", stdlib / "os.py"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    ran = drive("open", made_bundle, "-", "-", WRN_RUNNER_PYTHON=str(tmp_path))
    assert (ran.code, ran.statuses) == (0, [4, 4])
    assert ran.messages[0] == ran.messages[1]
    assert re.fullmatch(rf"Python of {tmp_path}/bin/{name} cannot start \(.+\): repair it, or run .+", ran.messages[0])


def test_an_environment_that_lacks_packages_is_an_error(drive: Driver, made_bundle: Path, tmp_path: Path) -> None:
    bare = _environment(tmp_path / "bare")
    ran = drive("open", made_bundle, "-", "-", WRN_RUNNER_PYTHON=str(bare))
    if ran.statuses[0] == 0:
        pytest.skip("the installation itself has the packages")
    assert (ran.code, ran.err, ran.statuses) == (0, "", [4, 4])
    assert "install wrn-deploy and cffi into it" in ran.messages[0]


def test_a_package_that_cannot_be_imported_is_an_error(drive: Driver, made_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "broken" / "_cffi_backend").mkdir(parents=True)
    (tmp_path / "broken" / "_cffi_backend" / "__init__.py").write_text("raise SystemExit('broken')")
    own = _environment(tmp_path / "env", str(tmp_path / "broken"))
    ran = drive("open", made_bundle, "-", "-", WRN_RUNNER_PYTHON=str(own))
    assert (ran.code, ran.err, ran.statuses) == (0, "", [4, 4])
    assert "SystemExit: broken" in ran.messages[0]


def test_the_hosts_python_variables_are_not_the_librarys(drive: Driver, made_bundle: Path) -> None:
    ran = drive("open", made_bundle, "onnxruntime", "-", PYTHONHOME="/nowhere", PYTHONPATH="/nowhere")
    assert (ran.code, ran.err, ran.statuses) == (0, "", [0, 0, 0, 0])


def test_a_python_without_a_shared_library_is_put_into_the_core(
    library: Path, drive: Driver, made_bundle: Path, tmp_path: Path
) -> None:
    environment = find_environment()
    try:
        archive = _static(environment.version)
        build_libraries(dataclasses.replace(environment, shared=None, static=archive), tmp_path)
    except MachineError as error:
        if "libpython" not in str(error):
            raise
        pytest.skip(f"this Python has no archive that can be linked: {error}")
    try_library(library / "include", tmp_path)
    symbols = subprocess.run(["ldd", tmp_path / "libwrn_runner_core.so"], capture_output=True, text=True, check=True)
    assert "libpython" not in symbols.stdout
    ran = drive("open", made_bundle, "onnxruntime", "-", LD_PRELOAD=str(tmp_path / "libwrn_runner.so"))
    assert (ran.err, ran.statuses) == ("", [0, 0, 0, 0])


HOST = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.wrn_last_error.restype = ctypes.c_char_p
runner = ctypes.c_uint64()
print(library.wrn_open(sys.argv[2].encode(), None, ctypes.byref(runner)), library.wrn_last_error().decode())
"""


def test_a_python_program_may_be_the_host(library: Path, made_bundle: Path) -> None:
    """The library then takes the Python that is there, instead of a second one."""
    command = [sys.executable, "-c", HOST, str(library / "lib" / "libwrn_runner.so"), str(made_bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("0", "")


PLUGIN = """
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
int main(int count, char **arguments) {
  void *library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
  int32_t (*open)(const char *, const void *, uint64_t *);
  const char *(*last)(void);
  uint64_t runner;
  if (count != 3 || library == NULL) return 64;
  *(void **)&open = dlsym(library, "wrn_open");
  *(void **)&last = dlsym(library, "wrn_last_error");
  int32_t status = open(arguments[2], NULL, &runner);
  printf("%d %s", status, last());
  dlclose(library);
  return 0;
}
"""


def test_a_host_may_load_it_as_a_plugin(library: Path, made_bundle: Path, tmp_path: Path) -> None:
    """With RTLD_LOCAL, where the symbols of libpython would not reach the extension modules by themselves."""
    (tmp_path / "host.c").write_text(PLUGIN)
    subprocess.run(["cc", str(tmp_path / "host.c"), "-ldl", "-o", str(tmp_path / "host")], check=True)
    command = [tmp_path / "host", library / "lib" / "libwrn_runner.so", made_bundle]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0 ", "")
