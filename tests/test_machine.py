"""The machine's description: what nvidia-smi says, as it says it, and memory figures that are true."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from wrn_deploy import machine
from wrn_deploy.machine import Gpu, describe_machine, find_bus_id, find_gpu, package_versions, peak_rss_bytes

H200 = "NVIDIA H200, 9.0, 143771, 570.86.15"


class FakeTool:
    """An nvidia-smi that prints what the test says, and keeps what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def answers(self, text: str, code: int = 0) -> None:
        tool = self.folder / "nvidia-smi"
        script = f'#!/bin/sh\necho "$@" > {self.folder}/asked\ncat {self.folder}/answer\nexit {code}\n'
        (self.folder / "answer").write_text(text)
        tool.write_text(script)
        tool.chmod(0o755)

    @property
    def asked(self) -> str:
        return (self.folder / "asked").read_text()


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTool]:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(machine, "find_bus_id", lambda: "0000:17:00.0")
    find_gpu.cache_clear()
    yield FakeTool(tmp_path)
    find_gpu.cache_clear()


DRIVER = """
#include <stdlib.h>
#include <string.h>
int cuInit(unsigned flags) { return flags || getenv("BROKEN") ? 999 : 0; }
int cuDeviceGet(int *device, int index) { *device = 7; return getenv("HIDDEN") || index ? 101 : 0; }
int cuDeviceGetPCIBusId(char *text, int room, int device) {
    if (device != 7 || room < 13) return 1;
    strcpy(text, "0000:C1:00.0");
    return 0;
}
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the driver of a machine whose first GPU for CUDA has the bus id 0000:C1:00.0."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("driver")
    (folder / "driver.c").write_text(DRIVER)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "libcuda.so.1", folder / "driver.c"], check=True)
    return folder


@pytest.mark.parametrize(("variable", "found"), [(None, "0000:C1:00.0"), ("HIDDEN", None), ("BROKEN", None)])
def test_cuda_itself_says_which_gpu_is_its_first(
    driver: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, found: str | None
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(driver))
    if variable is not None:
        monkeypatch.setenv(variable, "1")
    find_bus_id.cache_clear()
    assert find_bus_id() == found
    find_bus_id.cache_clear()


def test_without_a_gpu_for_cuda_nvidia_smi_is_not_asked(nvidia_smi: FakeTool, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi.answers(H200)
    monkeypatch.setattr(machine, "find_bus_id", lambda: None)
    assert find_gpu() is None
    assert not (nvidia_smi.folder / "asked").exists()


def test_the_gpu_is_described_as_the_driver_names_it(nvidia_smi: FakeTool) -> None:
    nvidia_smi.answers(f"{H200}\n")
    assert find_gpu() == Gpu("NVIDIA H200", "9.0", 143771, "570.86.15")
    assert describe_machine().gpu == find_gpu()
    assert "--id=0000:17:00.0" in nvidia_smi.asked.split()


def test_a_gpu_that_shares_its_memory_is_a_gpu(nvidia_smi: FakeTool) -> None:
    nvidia_smi.answers("NVIDIA GB10, 12.1, [N/A], 580.95\n")
    assert find_gpu() == Gpu("NVIDIA GB10", "12.1", 0, "580.95")


def test_a_comma_in_the_name_does_no_harm(nvidia_smi: FakeTool) -> None:
    nvidia_smi.answers("Maker, Model 3, 8.6, 24576, 550.1\n")
    assert find_gpu() == Gpu("Maker, Model 3", "8.6", 24576, "550.1")


@pytest.mark.parametrize(("text", "code"), [("", 0), ("No devices were found\n", 0), (H200, 9), ("failed\n", 255)])
def test_a_driver_that_fails_or_lists_nothing_is_no_gpu(nvidia_smi: FakeTool, text: str, code: int) -> None:
    nvidia_smi.answers(text, code)
    assert find_gpu() is None


def test_no_driver_is_no_gpu(nvidia_smi: FakeTool) -> None:
    assert not (nvidia_smi.folder / "nvidia-smi").exists()
    assert find_gpu() is None


def test_the_machine_is_described() -> None:
    found = describe_machine()
    assert found.cores >= 1
    assert found.memory_mib > 100
    assert found.cpu
    assert found.python == ".".join(map(str, sys.version_info[:3]))


def test_versions_are_those_of_installed_packages_alone() -> None:
    assert package_versions("numpy", "no-such-package-at-all") == {"numpy": np.__version__}


def test_the_peak_grows_with_what_was_held_and_stays() -> None:
    """In a process of its own: 100 MiB are held and given back, and a child's peak is not its parent's."""
    code = (
        "from wrn_deploy.machine import peak_rss_bytes as peak; import sys, subprocess\n"
        "small = peak(); held = b'x' * (100 << 20); large = peak(); del held\n"
        "child = subprocess.run([sys.executable, '-c', "
        "'from wrn_deploy.machine import peak_rss_bytes as peak; print(peak())'], capture_output=True, text=True)\n"
        "print(small, large, peak(), int(child.stdout))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    small, large, later, child = map(int, done.stdout.split())
    assert 100 << 20 <= large - small < 110 << 20
    assert later > large - (1 << 20), "the kernel counts in batches, but it forgets nothing"
    assert child < small + (20 << 20)
    assert peak_rss_bytes() > 10 << 20
