"""Makes the environment of the tests on the stand-in driver, and runs a command in it.

    python -m tests.driver.environment COMMAND ...

It lies in build/driver and adds to the project's own environment: packages, PyCUDA (compiled once for each version of
it), the driver and a program `nvidia-smi`. Nothing in it needs a CUDA toolkit; a pip package brings the headers.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Callable
from pathlib import Path

from tests.driver.generate import write_runtime, write_stubs

__all__ = ["BUILD", "ROOT", "find_obstacle", "is_active", "make", "variables"]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "driver"
SITE, LIBRARIES, PROGRAMS, WHEELS = BUILD / "site", BUILD / "lib", BUILD / "bin", BUILD / "wheels"
HEADERS = SITE / "nvidia" / "cu13" / "include"
HOME = "STANDIN_HOME"  # the variable that says that this process is in the environment

SITECONF = """\
CUDA_ROOT = {root!r}
CUDADRV_LIB_DIR = [{libraries!r}]
CUDA_ENABLE_CURAND = False
CXXFLAGS = ["-O0", "-w"]
"""
NVIDIA_SMI = """\
#!/bin/sh
# Answers --query-gpu=... as an H200 does; an unknown field is [N/A].
for argument; do
    case $argument in --query-gpu=*) fields=$(echo "${argument#--query-gpu=}" | tr , ' ') ;; esac
done
[ -n "$fields" ] || { echo "NVIDIA-SMI of the stand-in driver"; exit 0; }
for field in $fields; do
    case $field in
        name) value="NVIDIA H200" ;;
        compute_cap) value=${STANDIN_CC:-9.0} ;;
        memory.total) value=143771 ;;
        driver_version) value=580.95.05 ;;
        pci.bus_id) value=00000000:01:00.0 ;;
        uuid) value=GPU-07070707-0707-0707-0707-070707070707 ;;
        index|count) value=0 ;;
        *) value="[N/A]" ;;
    esac
    line="${line:+$line, }$value"
done
echo "$line"
"""


def find_obstacle() -> str | None:
    """Why the environment cannot be made here; None if it can."""
    if platform.system() != "Linux":
        return "the stand-in driver is for Linux"
    if shutil.which("g++") is None or shutil.which("nm") is None:
        return "the stand-in driver is C++ and there is no g++: install it"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "PyCUDA is compiled and there is no Python.h: install Python's headers (python3-dev)"
    return None


def is_active() -> bool:
    """Whether this process runs in the environment."""
    return os.environ.get(HOME) == str(BUILD)


def variables(fakes: bool = True) -> dict[str, str]:
    """The environment variables of a process in it; without `fakes` TensorRT is the one that is installed."""
    python = [*([str(HERE / "fakes")] if fakes else []), str(SITE), str(ROOT)]
    before = os.environ
    return {
        **before,
        HOME: str(BUILD),
        "PYTHONPATH": os.pathsep.join(python),
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, [str(LIBRARIES), before.get("LD_LIBRARY_PATH")])),
        "PATH": os.pathsep.join([str(PROGRAMS), str(Path(sys.executable).parent), before.get("PATH", "")]),
        "CUDA_VISIBLE_DEVICES": "0",
    }


def make() -> None:
    """Makes or updates it; does nothing if neither versions nor sources have changed."""
    BUILD.mkdir(parents=True, exist_ok=True)
    packages = _packages_digest()
    _once("packages", packages, _install)
    _once("driver", packages + _digest(*sorted((HERE / "source").iterdir()), HERE / "generate.py"), _build)
    _once("pycuda", packages, _install_pycuda)
    PROGRAMS.mkdir(exist_ok=True)
    (PROGRAMS / "nvidia-smi").write_text(NVIDIA_SMI, encoding="utf-8")
    (PROGRAMS / "nvidia-smi").chmod(0o755)


def _once(what: str, digest: str, work: Callable[[], None]) -> None:
    """Calls `work` unless it was done with this digest."""
    mark = BUILD / f"{what}.digest"
    if mark.is_file() and mark.read_text() == digest:
        return
    mark.unlink(missing_ok=True)
    work()
    mark.write_text(digest)


def _digest(*files: Path) -> str:
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def _packages_digest() -> str:
    """Of the versions that are installed, and of the Python that they are for."""
    pins = [_pin("pycuda"), _pin("cuda-bindings"), (HERE / "requirements.txt").read_text(), sys.version, sys.prefix]
    return hashlib.sha256("\0".join(pins).encode()).hexdigest()


def _pin(package: str) -> str:
    found = re.search(rf"^{package}==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert found is not None, f"{package} has no pin"
    return found[0]


def _install() -> None:
    """The headers are of the version of cuda-bindings; constraints.txt pins the CUDA packages that torch needs."""
    shutil.rmtree(SITE, ignore_errors=True)
    pins = (ROOT / "constraints.txt").read_text().splitlines(keepends=True)
    constraints = BUILD / "constraints.txt"
    constraints.write_text("".join(pin for pin in pins if not pin.startswith("nvidia-cuda-")))
    _pip("install", "--target", SITE, "-c", constraints, "-r", HERE / "requirements.txt")


def _install_pycuda() -> None:
    _pip("install", "--target", SITE, "-c", ROOT / "constraints.txt", "--upgrade", _pycuda_wheel())


def _pycuda_wheel() -> Path:
    """PyCUDA's wheel, compiled with the pip package's headers and linked to the stand-in."""
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    pin = _pin("pycuda")
    for wheel in WHEELS.glob(f"{pin.replace('==', '-')}-{tag}-*.whl"):
        return wheel
    sys.stderr.write(f"compiling {pin}: about 90 s, once\n")
    source = BUILD / "pycuda"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir()
    _pip("download", "--no-deps", "--no-build-isolation", "--no-binary", "pycuda", "-d", source, pin)
    with tarfile.open(next(source.glob("*.tar.gz"))) as archive:
        archive.extractall(source, filter="data")
    unpacked = next(path for path in source.iterdir() if path.is_dir())
    (unpacked / "siteconf.py").write_text(SITECONF.format(root=str(HEADERS.parent), libraries=str(LIBRARIES)))
    _pip("wheel", "--no-deps", "--no-build-isolation", "-w", WHEELS, unpacked)
    shutil.rmtree(source)
    return next(WHEELS.glob("pycuda-*.whl"))


def _build() -> None:
    """The driver, and the layer of the CUDA runtime in the place of the real one."""
    objects = BUILD / "objects"
    shutil.rmtree(objects, ignore_errors=True)
    objects.mkdir()
    LIBRARIES.mkdir(exist_ok=True)
    include, warnings = f"-I{HEADERS}", ("-Wall", "-Wextra", "-Werror")
    sources = [path for path in sorted((HERE / "source").glob("*.cpp")) if path.name != "runtime.cpp"]
    compiled = [objects / f"{source.stem}.o" for source in sources]
    for source, target in zip(sources, compiled, strict=True):
        _run("g++", "-std=c++20", "-O1", "-fPIC", *warnings, include, "-c", source, "-o", target)
    write_stubs(HEADERS, compiled, objects / "stubs.c")
    _run("gcc", "-O1", "-fPIC", "-w", "-c", objects / "stubs.c", "-o", objects / "stubs.o")
    library = LIBRARIES / "libcuda.so.1"
    soname = "-Wl,-soname,libcuda.so.1"
    _run("g++", "-shared", *compiled, objects / "stubs.o", "-o", library, "-lpthread", soname)
    (LIBRARIES / "libcuda.so").unlink(missing_ok=True)
    (LIBRARIES / "libcuda.so").symlink_to(library.name)
    # So that NVML of a real driver, which knows other GPUs, is not found.
    nvml = LIBRARIES / "libnvidia-ml.so.1"
    _run("gcc", "-shared", "-x", "c", "/dev/null", "-o", nvml, "-Wl,-soname,libnvidia-ml.so.1")

    bindings = SITE / "cuda" / "bindings"
    pyx, cpp = objects / "runtime.pyx", objects / "runtime.cpp"
    write_runtime(bindings, pyx)
    module = "cuda.bindings._internal.runtime"
    _run(sys.executable, "-m", "cython", "--cplus", "-3", "--module-name", module, "-I", SITE, pyx, "-o", cpp)
    target = bindings / "_internal" / f"runtime{sysconfig.get_config_var('EXT_SUFFIX')}"
    python = f"-I{sysconfig.get_path('include')}"
    shim = HERE / "source" / "runtime.cpp"
    _run("g++", "-shared", "-O1", "-fPIC", "-w", include, python, cpp, shim, "-o", f"{target}.new", library)
    Path(f"{target}.new").replace(target)


def _pip(*arguments: str | Path) -> None:
    quiet = ("--quiet", "--disable-pip-version-check")
    _run(sys.executable, "-m", "pip", *arguments, *quiet)


def _run(*command: str | Path) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, "PYTHONPATH": str(SITE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout[-4000:]}")


def main(command: list[str]) -> int:
    """Runs the command in the environment; where there can be none, outside of it: tests then say why they skip."""
    obstacle = find_obstacle()
    if obstacle is not None:
        sys.stderr.write(f"{obstacle}\n")
        return subprocess.run(command, check=False).returncode
    make()
    return subprocess.run(command, env=variables(), check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
