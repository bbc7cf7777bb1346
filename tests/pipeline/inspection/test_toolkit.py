"""What compiling PyCUDA needs is looked for as its setup does, and each thing that is missing is one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wrn_deploy.pipeline.inspection.toolkit import missing_for_pycuda

ROOT = Path(__file__).resolve().parents[3]
if shutil.which("g++") is None:
    pytest.skip("there is no g++", allow_module_level=True)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without PyCUDA's defaults, no CUDA of this machine's, and nothing but the compiler's folders on PATH."""
    for name in ("CPATH", "LIBRARY_PATH", "CPLUS_INCLUDE_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    if missing_for_pycuda() and any("Python.h" in line for line in missing_for_pycuda()):
        pytest.skip("there is no Python.h")
    return tmp_path


@pytest.fixture
def toolkit(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A toolkit with headers and libraries of the right names, its nvcc on PATH."""
    root = home / "cuda"
    for folder in ("bin", "include", "lib64/stubs"):
        (root / folder).mkdir(parents=True)
    (root / "bin" / "nvcc").write_text("#!/bin/sh\n")
    (root / "bin" / "nvcc").chmod(0o755)
    for header in ("cuda.h", "cudaProfiler.h"):
        (root / "include" / header).write_text("typedef int CUresult;\n")
    for library in ("lib64/stubs/libcuda.so", "lib64/libcurand.so"):
        made = [f"-o{root / library}", "-x", "c++", os.devnull]
        subprocess.run(["g++", "-shared", *made], check=True)
    monkeypatch.setenv("PATH", f"{root / 'bin'}:/usr/bin:/bin")
    return root


@pytest.mark.usefixtures("toolkit")
def test_with_a_toolkit_nothing_is_missing() -> None:
    assert missing_for_pycuda() == []


def test_each_thing_that_is_missing_is_one_line(toolkit: Path) -> None:
    (toolkit / "include" / "cuda.h").unlink()
    (toolkit / "lib64" / "libcurand.so").unlink()
    (header, curand) = missing_for_pycuda()
    assert header == f"no cuda.h (not in {toolkit}): install the CUDA 13 toolkit, and put its nvcc on PATH"
    assert curand.endswith("or do without it: echo 'CUDA_ENABLE_CURAND = False' >> ~/.aksetup-defaults.py")


def test_without_curand_its_library_is_not_needed(toolkit: Path, home: Path) -> None:
    (toolkit / "lib64" / "libcurand.so").unlink()
    (home / ".aksetup-defaults.py").write_text("CUDA_TRACE = False\nCUDA_ENABLE_CURAND = False\n")
    assert missing_for_pycuda() == []


@pytest.mark.usefixtures("home")
def test_without_a_compiler_there_is_no_more_to_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (line,) = missing_for_pycuda()
    assert line.startswith("no g++, which compiles PyCUDA: install it")


def test_make_says_it_before_it_touches_the_environment(home: Path) -> None:
    if shutil.which("make") is None or not missing_for_pycuda():
        pytest.skip("there is no make, or this machine has all that PyCUDA needs")
    command = ["make", "-C", str(ROOT), "demo", "EXTRA=gpu", f"VENV={home / 'env'}", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "no cuda.h (nvcc is not on PATH): install the CUDA 13 toolkit" in done.stderr
    assert "Nothing was installed" in done.stderr
    assert not (home / "env").exists()
