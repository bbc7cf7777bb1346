"""What these tests share: the C++ library, and a compiler for programs that use it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.embed.conftest import build_library, images, pixels  # noqa: F401


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `wrn-deploy embed` writes."""
    return build_library("native", tmp_path_factory)


@pytest.fixture(scope="session")
def example(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of the package's example; it finds the library in `lib` beside its own folder."""
    made = tmp_path_factory.mktemp("program") / "classify"
    source = library / "example" / "classify.cpp"
    options = [f"-I{library}/include", f"-L{library}/lib", "-Wl,-rpath,$ORIGIN/../lib", "-lwrn_runner", "-pthread"]
    compiler = shutil.which("c++") or "g++"
    subprocess.run([compiler, "-std=c++17", "-O1", source, *options, "-o", made], check=True)
    return made
