"""What these tests share: the library, built with the headers of each flavour, and our TensorRT behind them.

WRN_TENSORRT_HEADERS names the folders of the headers, separated as in PATH: we know of no package that has them.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.driver.bundles import VERSIONS, make_bundle
from tests.driver.library.calls import Library, OurTensorRT
from tests.driver.library.generate import write_stubs
from wrn_deploy.embed.native import find_native_tools
from wrn_deploy.embed.package import write_package
from wrn_deploy.embed.tensorrt import PlanHeaders, find_cuda_headers, find_plan_headers
from wrn_deploy.errors import MachineError
from wrn_deploy.progress import Silent

HERE = Path(__file__).parent
NATIVE = HERE.parents[2] / "native"
FOLDERS = os.environ.get("WRN_TENSORRT_HEADERS", "/usr").split(os.pathsep)
VARIABLES = {"tensorrt": "WRN_RUNNER_TENSORRT", "tensorrt_rtx": "WRN_RUNNER_TENSORRT_RTX"}
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror")
MakeBundle = Callable[..., Path]


@dataclass(frozen=True, slots=True)
class Built:
    """The folder as of `wrn-deploy embed`, and our TensorRT: its file and version for each flavour."""

    folder: Path
    files: dict[str, Path]
    versions: dict[str, str]


def find_headers() -> list[PlanHeaders]:
    """Of each flavour whose headers are here."""
    found = []
    for folder in FOLDERS:
        try:
            found.append(find_plan_headers(Path(folder)))
        except MachineError:
            continue
    return found


def version_of(headers: PlanHeaders) -> str:
    """That our TensorRT says it has: the one of the stand-in's bundles if the headers fit, else one of the headers."""
    usual = VERSIONS[headers.flavor]
    fits = usual.startswith(f"{headers.version}.") or (
        headers.flavor == "tensorrt" and usual.split(".")[0] == headers.version.split(".")[0]
    )
    return usual if fits else f"{headers.version}.0.1"


def compile_fake(headers: PlanHeaders, file: Path, options: Sequence[str] = ()) -> None:
    """Compiles nvinfer.cpp with the headers of a flavour."""
    work = file.parent / f"stubs-{headers.flavor}"
    work.mkdir(parents=True, exist_ok=True)
    write_stubs(headers.folder, work / "stubs.hpp")
    include = [f"-isystem{headers.folder}", f"-isystem{find_cuda_headers()}", f"-isystem{work}", f"-I{NATIVE / 'src'}"]
    include += [f"-I{NATIVE / 'include'}", f'-DWRN_FAKE_VERSION="{version_of(headers)}"']
    sources = [HERE / "nvinfer.cpp", *sorted((NATIVE / "src" / "text").glob("*.cpp"))]
    command = ["g++", "-std=c++17", "-O1", "-fPIC", "-shared", "-fvisibility=default", *WARNINGS, *options, *include]
    done = subprocess.run(
        [*command, *map(str, sources), "-ldl", "-o", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Built once for all processes of a test run."""
    found = find_headers()
    if not found:
        pytest.skip("no headers of TensorRT: name their folders in WRN_TENSORRT_HEADERS")
    folders = [headers.folder for headers in found]
    try:
        find_native_tools(tensorrt=folders)
    except MachineError as error:
        pytest.skip(f"the library cannot be built: {error}")
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "plans"
    files = {headers.flavor: folder / f"our-{headers.flavor}.so" for headers in found}
    with (shared / "plans.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            made = shared / "plans.new"
            write_package(made, Silent(), tensorrt=folders)
            for headers in found:
                compile_fake(headers, made / files[headers.flavor].name)
            made.rename(folder)
    return Built(folder, files, {headers.flavor: version_of(headers) for headers in found})


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def flavor(request: pytest.FixtureRequest, built: Built) -> str:
    """Each flavour whose headers are here; TensorRT-RTX's are in its own release alone."""
    name = str(request.param)
    if name not in built.files:
        pytest.skip(f"no headers of {name}: name their folder in WRN_TENSORRT_HEADERS")
    return name


@pytest.fixture
def library(built: Built, monkeypatch: pytest.MonkeyPatch) -> Library:
    """The library in this process, which loads our TensorRT."""
    for name, file in built.files.items():
        monkeypatch.setenv(VARIABLES[name], str(file))
    return Library(built.folder)


@pytest.fixture
def ours(library: Library, built: Built, flavor: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[OurTensorRT]:
    """Our TensorRT of the flavour, of which nothing may be left; the Python side has the same version."""
    del library
    monkeypatch.setattr(importlib.import_module(flavor), "__version__", built.versions[flavor])
    made = OurTensorRT(built.files[flavor])
    made.batches()
    yield made
    assert made.alive() == (0, 0)


@pytest.fixture
def make(tmp_path: Path, flavor: str, built: Built) -> MakeBundle:
    """Makes bundles with a plan of the flavour and of our TensorRT's version."""

    def called(name: str = "bundle", *, facts: Mapping[str, Any] | None = None, **options: Any) -> Path:
        said = {"version": built.versions[flavor], **(facts or {})}
        return make_bundle(tmp_path / name, flavor=flavor, facts=said, **options).folder

    return called
