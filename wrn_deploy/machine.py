"""What this machine is: CPU, memory, GPU, driver, package versions; the standard library only."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.process.children import run_child

__all__ = [
    "Gpu", "Machine", "describe_machine", "find_bus_id", "find_gpu", "package_versions", "peak_rss_bytes",
    "processor_type", "usable_cores",
]  # fmt: skip

# Names in /proc/cpuinfo of instructions that kernels are chosen by, on x86 and on Arm.
VECTOR_FLAGS = ("amx", "asimd", "avx", "bf16", "f16c", "fma", "i8mm", "sme", "sse", "ssse", "sve")
TIMEOUT_S = 60  # a driver that is not kept loaded initialises each GPU when it is first asked
# CUDA's driver interface: each function returns 0 or an error's number.
ASK_DRIVER = """
import ctypes
driver, device, bus_id = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(), ctypes.create_string_buffer(32)
failed = driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0)
failed = failed or driver.cuDeviceGetPCIBusId(bus_id, len(bus_id), device)
if failed:
    raise SystemExit(f"CUDA error {failed}")
print(bus_id.value.decode())
"""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU; `compute_capability` as in "9.0"; `memory_mib` is 0 if CPU and GPU share their memory."""

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


def processor_type() -> dict[str, str]:
    """What the last bits of an inference on this CPU depend on: its architecture, model and vector instructions."""
    flags = (_proc_value("cpuinfo", "flags") or _proc_value("cpuinfo", "Features") or "").split()
    return {
        "architecture": platform.machine(),
        "cpu": next(
            filter(None, (_proc_value("cpuinfo", key) for key in ("model name", "CPU part"))), platform.processor()
        ),
        "instructions": " ".join(sorted(flag for flag in flags if flag.startswith(VECTOR_FLAGS))),
    }


@functools.cache
def find_gpu() -> Gpu | None:
    """CUDA's first GPU in this process, as `nvidia-smi` describes it; None: no GPU, or no driver."""
    tool = shutil.which("nvidia-smi")
    bus_id = None if tool is None else find_bus_id()
    if tool is None or bus_id is None:
        return None
    query = ["--query-gpu=name,compute_cap,memory.total,driver_version", "--format=csv,noheader,nounits"]
    try:
        done = run_child([tool, *query, f"--id={bus_id}"], timeout_s=TIMEOUT_S)
        done.check_returncode()
        name, capability, memory, driver = (field.strip() for field in done.stdout.splitlines()[0].rsplit(",", 3))
        return Gpu(name, capability, int(memory) if memory.isdecimal() else 0, driver)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


@functools.cache
def find_bus_id() -> str | None:
    """PCI bus id of CUDA's first GPU in this process, as in "0000:17:00.0"; None: CUDA has none, or no driver.

    nvidia-smi and NVML number all GPUs by their bus. CUDA numbers those that CUDA_VISIBLE_DEVICES shows, the fastest
    first unless CUDA_DEVICE_ORDER says otherwise. So the driver is asked, in a child: a process in which it has been
    initialised cannot fork and use CUDA in the child.
    """
    try:
        done = run_child([sys.executable, "-I", "-S", "-c", ASK_DRIVER], timeout_s=TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


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
