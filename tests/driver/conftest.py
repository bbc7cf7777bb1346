"""Tests that run on the stand-in driver alone: each ends without a broken rule, and with nothing left alive."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.driver import environment, standin
from tests.driver.bundles import make_bundle
from wrn_deploy.runtime.gpu import on_gpu

REASON = environment.find_obstacle() or "on the stand-in driver alone: run `make test-driver`"
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips the tests of this folder outside of their environment."""
    if not environment.is_active():
        for item in items:
            if item.path.is_relative_to(HERE):
                item.add_marker(pytest.mark.skip(reason=REASON))


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """No rule is broken, no memory, stream, event, graph or context is left, and no call is set to fail."""
    if not environment.is_active() or request.node.get_closest_marker("skip") is not None:
        yield
        return
    standin.violations()
    before = standin.counts()
    yield
    standin.fail(0)
    gc.collect()
    assert standin.violations() == []
    assert standin.counts().since(before).left() == {}


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a plan of full TensorRT: batches of 1, and of 2 to 16."""
    folder = tmp_path_factory.mktemp("driver") / "bundle"
    make_bundle(folder)
    return folder


@pytest.fixture(scope="session")
def rtx_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a plan of TensorRT-RTX: batches of 1 to 16."""
    folder = tmp_path_factory.mktemp("driver-rtx") / "bundle"
    make_bundle(folder, flavor="tensorrt_rtx", profiles=((1, 8, 16),))
    return folder


@pytest.fixture
def gpu() -> Iterator[Any]:
    """PyCUDA's driver module; the GPU's context is current during the test, and when its variables are given up."""
    with on_gpu() as cuda:
        yield cuda
        gc.collect()


@pytest.fixture
def slow_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that take 2 ms, so that work that is not ordered does overlap."""
    monkeypatch.setenv("STANDIN_KERNEL_US", "2000")


@pytest.fixture
def python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program of Python's in a process of its own."""

    def run(program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-c", program, *arguments]
        return subprocess.run(
            command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=120, check=False
        )

    return run
