"""The wheel for one platform: it has the library, and where it is installed `embed` needs no compiler and no header."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.embed.conftest import skip_without_tools
from wrn_deploy import Runner

pytest.importorskip("build", reason="the `build` package makes the wheel")
pytest.importorskip("setuptools", minversion="77", reason="pyproject.toml needs setuptools 77")

ROOT = Path(__file__).resolve().parents[2]
BUILT = {
    "include/wrn_runner.h",
    "lib/libwrn_runner.so.1",
    "lib/cmake/wrn_runner/wrn_runnerConfig.cmake",
    "lib/pkgconfig/wrn_runner.pc",
    "share/doc/wrn_runner/LICENSE",
}
# Infers with the library alone, in a process without numpy: writes the logits of one image of zeros.
INFER = """
import ctypes, sys
class Images(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("bytes", ctypes.c_size_t)]
    _fields_ += [("count", ctypes.c_int64), ("dtype", ctypes.c_int32)]
class Buffer(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("bytes", ctypes.c_size_t)]
library = ctypes.CDLL(sys.argv[1])
library.wrn_last_error.restype = ctypes.c_char_p
runner, pixels, logits = ctypes.c_uint64(), ctypes.create_string_buffer(3072), ctypes.create_string_buffer(40)
assert library.wrn_open(sys.argv[2].encode(), None, ctypes.byref(runner)) == 0, library.wrn_last_error()
images = Images(ctypes.addressof(pixels), 3072, 1, 1)
output = Buffer(ctypes.addressof(logits), 40)
assert library.wrn_infer(runner, ctypes.byref(images), ctypes.byref(output), 1) == 0, library.wrn_last_error()
sys.stdout.buffer.write(logits.raw)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the tree, without optimisation, which takes a third of the time."""
    skip_without_tools("native")
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns(".*", "build", "dist", "demo", "*.egg-info", "__pycache__", "docs", "tests")
    tree = shutil.copytree(ROOT, folder / "tree", symlinks=True, ignore=ignored)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "out"), str(tree)]
    environment = {**os.environ, "WRN_DEPLOY_NATIVE": "1", "CMAKE_BUILD_TYPE": "Debug", "CXXFLAGS": "-O0 -g0"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return next((folder / "out").iterdir())


def test_it_is_of_this_platform_and_any_python(wheel: Path) -> None:
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    assert wheel.name.endswith(f"-py3-none-{platform}.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
        (about,) = [name for name in names if name.endswith(".dist-info/WHEEL")]
        assert "Root-Is-Purelib: false\n" in opened.read(about).decode()
    assert {f"wrn_deploy/embed/built/{name}" for name in BUILT} <= set(names)
    libraries = [name for name in names if ".so" in name]
    assert libraries == ["wrn_deploy/embed/built/lib/libwrn_runner.so.1"], "a wheel has no links, only copies"


def test_embed_needs_no_compiler_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    packages = next((tmp_path / "env").glob("lib/python*/site-packages"))
    (packages / "ours.pth").write_text(f"{Path(np.__file__).parents[1]}\n", encoding="utf-8")
    flags = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--ignore-installed")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", *flags, str(wheel)]
    subprocess.run(install, check=True)

    def run(*command: str | Path) -> bytes:
        alone = {"PATH": str(tmp_path / "env" / "bin")}
        done = subprocess.run(command, capture_output=True, check=False, cwd=tmp_path, env=alone)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert b"The library came with the package." in run(python.with_name("wrn-deploy"), "embed", "--out", "out")
    example = packages / "wrn_deploy" / "data" / "example"
    library = tmp_path / "out" / "lib" / "libwrn_runner.so"
    with Runner.open(example, backend="onnxruntime", precision="fp32") as runner:
        wanted = runner.predict(np.zeros((1, 32, 32, 3), np.uint8))
    assert run(python, "-I", "-S", "-c", INFER, library, example) == wanted.tobytes()
