"""What these tests share: both libraries, each built once, and a program in C++ that makes calls of one."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from wrn_deploy import Runner
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches
from wrn_deploy.embed.environment import embedding_obstacle
from wrn_deploy.embed.native import native_obstacle
from wrn_deploy.embed.package import write_package
from wrn_deploy.progress import Silent

DRIVER = Path(__file__).with_name("driver.cpp")
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
CODES = {np.dtype(np.uint8): 1, np.dtype(np.float32): 5}


@dataclass(frozen=True, slots=True)
class Ran:
    """How the program ended: its lines, each split at tabs, and what it printed to stderr."""

    code: int
    lines: list[list[str]]
    err: str

    @property
    def statuses(self) -> list[int]:
        """Of the calls, in their order."""
        return [int(line[0]) for line in self.lines if line[0].isdecimal()]

    @property
    def messages(self) -> list[str]:
        """The texts of the calls, in their order; empty where they went well."""
        return [line[1] for line in self.lines if line[0].isdecimal()]

    def values(self, word: str) -> list[list[str]]:
        """The lines that begin with a word."""
        return [line[1:] for line in self.lines if line[0] == word]


Driver = Callable[..., Ran]


def compare_bytes(
    drive: Driver, bundle: Path, precision: str, images: npt.NDArray[Any], count: int, folder: Path
) -> None:
    """Runs all outputs of `count` images in the Runner and in the library, and compares their bytes."""
    sent = np.resize(images, (count, *images.shape[1:]))
    (folder / "sent").write_bytes(sent.tobytes())
    with Runner.open(bundle, precision=precision, backend="onnxruntime", threads=1) as runner:
        wanted = runner.run(sent)
        names = [output.name for output in runner.outputs]
    given = (precision, CODES[sent.dtype], folder / "sent", count, folder / "results")
    ran = drive("run", bundle, *given)
    assert (ran.code, ran.err, ran.statuses) == (0, "", [0, 0, 0, 0]), ran
    assert (folder / "results").read_bytes() == b"".join(wanted[name].tobytes() for name in names)


@pytest.fixture(scope="session", params=["native", "python"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `wrn-deploy embed` writes, and then that of `wrn-deploy embed --python`."""
    return build_library(request.param, tmp_path_factory)


def build_library(which: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a library, which is built once for all processes of a test run."""
    skip_without_tools(which)
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "embedded" / which
    with (shared / "embedded.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            write_package(folder, Silent(), python=which == "python")
    return folder


def skip_without_tools(which: str) -> None:
    """Skips the test if the library cannot be built here."""
    obstacle = native_obstacle() if which == "native" else embedding_obstacle()
    if obstacle is not None:
        pytest.skip(f"the library cannot be built: {obstacle}")


@pytest.fixture(scope="session")
def program(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """driver.cpp, compiled with all warnings as errors and linked to the library."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    made = tmp_path_factory.mktemp("driver") / "driver"
    link = [f"-I{library / 'include'}", f"-L{library / 'lib'}", f"-Wl,-rpath,{library / 'lib'}", "-lwrn_runner"]
    subprocess.run([compiler, "-std=c++17", *WARNINGS, str(DRIVER), *link, "-pthread", "-o", str(made)], check=True)
    return made


@pytest.fixture(scope="session")
def drive(program: Path) -> Driver:
    """Runs the program; variables given by name are set in its environment."""

    def run(*arguments: object, **variables: str) -> Ran:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "WRN_"))}
        done = subprocess.run(
            [program, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            env=kept | variables,
            timeout=300,
        )
        return Ran(done.returncode, [line.split("\t") for line in done.stdout.splitlines()], done.stderr)

    return run


@pytest.fixture(scope="session")
def images(made_bundle: Path) -> npt.NDArray[np.uint8]:
    """Twelve digits that the network was not trained on."""
    preprocessing = Bundle.open(made_bundle).spec.preprocessing
    return next(iter(Batches(open_data("digits", Role.TEST), preprocessing, 12))).images


@pytest.fixture(scope="session")
def pixels(images: npt.NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their raw bytes."""
    file = tmp_path_factory.mktemp("pixels") / "images.raw"
    file.write_bytes(images.tobytes())
    return file
