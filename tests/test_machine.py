"""The machine's description: what nvidia-smi says, as it says it, and memory figures that are true."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from wrn_deploy.machine import Gpu, describe_machine, find_gpu, package_versions, peak_rss_bytes

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
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    find_gpu.cache_clear()
    yield FakeTool(tmp_path)
    find_gpu.cache_clear()


def test_the_gpu_is_described_as_the_driver_names_it(nvidia_smi: FakeTool) -> None:
    nvidia_smi.answers(f"{H200}\n")
    assert find_gpu() == Gpu("NVIDIA H200", "9.0", 143771, "570.86.15")
    assert describe_machine().gpu == find_gpu()
    assert "--id=0" in nvidia_smi.asked


def test_a_gpu_that_shares_its_memory_is_a_gpu(nvidia_smi: FakeTool) -> None:
    nvidia_smi.answers("NVIDIA GB10, 12.1, [N/A], 580.95\n")
    assert find_gpu() == Gpu("NVIDIA GB10", "12.1", 0, "580.95")


def test_a_comma_in_the_name_does_no_harm(nvidia_smi: FakeTool) -> None:
    nvidia_smi.answers("Maker, Model 3, 8.6, 24576, 550.1\n")
    assert find_gpu() == Gpu("Maker, Model 3", "8.6", 24576, "550.1")


@pytest.mark.parametrize(
    ("visible", "asked"),
    [("1", "--id=1"), ("2,0", "--id=2"), ("GPU-aa-bb,0", "--id=GPU-aa-bb"), ("MIG-aa-bb", "--id=0")],
)
def test_the_gpu_is_the_one_that_cuda_shows_first(
    nvidia_smi: FakeTool, monkeypatch: pytest.MonkeyPatch, visible: str, asked: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    nvidia_smi.answers(H200)
    assert find_gpu() is not None
    assert asked in nvidia_smi.asked.split()


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_gpu_that_cuda_hides_is_none(nvidia_smi: FakeTool, monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    nvidia_smi.answers(H200)
    assert find_gpu() is None


@pytest.mark.parametrize(("text", "code"), [("", 0), ("No devices were found\n", 0), (H200, 9), ("failed\n", 255)])
def test_a_driver_that_fails_or_lists_nothing_is_no_gpu(nvidia_smi: FakeTool, text: str, code: int) -> None:
    nvidia_smi.answers(text, code)
    assert find_gpu() is None


def test_no_driver_is_no_gpu(nvidia_smi: FakeTool) -> None:
    assert not (nvidia_smi.folder / "nvidia-smi").exists()
    assert find_gpu() is None


def test_the_machine_is_described() -> None:
    machine = describe_machine()
    assert machine.cores >= 1
    assert machine.memory_mib > 100
    assert machine.cpu
    assert machine.python == ".".join(map(str, sys.version_info[:3]))


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
