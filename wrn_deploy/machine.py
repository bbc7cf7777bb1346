"""What this machine is: CPU, memory, GPU, driver, package versions; the standard library only."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.process.children import run_child

__all__ = ["Gpu", "Machine", "describe_machine", "find_gpu", "package_versions", "peak_rss_bytes", "usable_cores"]


@dataclass(frozen=True, slots=True)
class Gpu:
    """The first CUDA GPU; `compute_capability` as in "9.0"; `memory_mib` is 0 if CPU and GPU share their memory."""

    name: str
    compute_capability: str
    memory_mib: int
    driver: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The machine that a number was measured on."""

    system: str
    cpu: str
    cores: int
    memory_mib: int
    python: str
    gpu: Gpu | None
    load_1min: float


def describe_machine() -> Machine:
    """Reads the machine's description now (the load average changes)."""
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        cpu=_proc_value("cpuinfo", "model name") or platform.processor() or "unknown",
        cores=usable_cores(),
        memory_mib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        python=platform.python_version(),
        gpu=find_gpu(),
        load_1min=round(os.getloadavg()[0], 2),
    )


@functools.cache
def find_gpu() -> Gpu | None:
    """The first GPU that CUDA shows to this process, as `nvidia-smi` describes it; None: no GPU, or no driver."""
    tool = shutil.which("nvidia-smi")
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if tool is None or first in ("", "-1"):
        return None
    known = first.isdecimal() or first.startswith("GPU-")  # nvidia-smi does not take the names of MIG instances
    query = ["--query-gpu=name,compute_cap,memory.total,driver_version", "--format=csv,noheader,nounits"]
    command = [tool, *query, f"--id={first if known else 0}"]
    try:
        done = run_child(command, timeout_s=30)
        done.check_returncode()
        name, capability, memory, driver = (field.strip() for field in done.stdout.splitlines()[0].rsplit(",", 3))
        return Gpu(name, capability, int(memory) if memory.isdecimal() else 0, driver)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def usable_cores() -> int:
    """CPU cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def package_versions(*packages: str) -> dict[str, str]:
    """Versions of those `packages` (distribution names) that are installed."""
    versions = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def peak_rss_bytes() -> int:
    """The largest resident set of this process so far, in bytes.

    Linux counts it per address space (VmHWM); `getrusage` would carry the parent's peak over an exec.
    """
    kib = _proc_value("self/status", "VmHWM")
    if kib is not None:
        return int(kib.split()[0]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def _proc_value(file: str, key: str) -> str | None:
    """The value of the first line of a file of /proc that starts with `key`; None: there is none."""
    path = Path("/proc", file)
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), None)
