"""What compiling PyCUDA needs of this machine, before pip starts the compiler; the standard library only.

`python -m wrn_deploy.pipeline.inspection.toolkit` prints what is missing, one line each; exit code 1.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from wrn_deploy.process.children import run_child
from wrn_deploy.process.scratch import scratch_folder

__all__ = ["missing_for_pycuda"]

COMPILER = "g++"
HEADERS = ("cuda.h", "cudaProfiler.h")  # what PyCUDA's sources include
DEFAULTS = "~/.aksetup-defaults.py"  # PyCUDA's setup reads it
NO_CURAND = f"echo 'CUDA_ENABLE_CURAND = False' >> {DEFAULTS}"


def missing_for_pycuda() -> list[str]:
    """What is missing, each with what to do; empty: PyCUDA can be compiled.

    The compiler itself is asked, with the folders that PyCUDA's setup gives it: those of the toolkit whose nvcc is on
    PATH. CPATH and LIBRARY_PATH name others.
    """
    compiler = shutil.which(COMPILER)
    if compiler is None:
        return [f"no {COMPILER}, which compiles PyCUDA: install it (Debian, Ubuntu: apt install g++)"]
    nvcc = shutil.which("nvcc")
    root = None if nvcc is None else Path(os.path.normpath(Path(nvcc).parent / ".."))
    here = "nvcc is not on PATH" if root is None else f"not in {root}"
    missing = []
    if not _finds_header(compiler, "Python.h", Path(sysconfig.get_path("include"))):
        missing.append("no Python.h: install Python's headers (Debian, Ubuntu: apt install python3-dev)")
    for header in HEADERS:
        if not _finds_header(compiler, header, root / "include" if root is not None else None):
            missing.append(f"no {header} ({here}): install the CUDA 13 toolkit, and put its nvcc on PATH")
    if not _links(compiler, "cuda", root):
        missing.append(
            f"no libcuda to link to ({here}): install NVIDIA's driver, or the toolkit, whose lib64/stubs has one"
        )
    if not _without_curand() and not _links(compiler, "curand", root):
        missing.append(f"no libcurand to link to ({here}): install the toolkit's, or do without it: {NO_CURAND}")
    return missing


def _finds_header(compiler: str, header: str, folder: Path | None) -> bool:
    where = [] if folder is None else [f"-I{folder}"]
    return _succeeds([compiler, "-fsyntax-only", *where, "-include", header, "-x", "c++", os.devnull])


def _links(compiler: str, library: str, root: Path | None) -> bool:
    folders = [] if root is None else [root / name for name in ("lib", "lib64", "lib/stubs", "lib64/stubs")]
    with scratch_folder() as scratch:
        made = ["-shared", "-o", str(scratch / "linked.so"), "-x", "c++", os.devnull]
        return _succeeds([compiler, *made, *(f"-L{folder}" for folder in folders), f"-l{library}"])


def _succeeds(command: list[str]) -> bool:
    try:
        return run_child(command, timeout_s=60).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def _without_curand() -> bool:
    file = Path(DEFAULTS).expanduser()
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return re.search(r"^CUDA_ENABLE_CURAND\s*=\s*False", text, re.MULTILINE) is not None


if __name__ == "__main__":
    missing = missing_for_pycuda()
    for line in missing:
        sys.stderr.write(f"{line}\n")
    if missing:
        sys.stderr.write("Nothing was installed. docs/how-to/gpu.md says what a GPU host needs.\n")
    sys.exit(1 if missing else 0)
