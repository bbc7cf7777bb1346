"""The library on another machine: a root folder without Python, another ONNX Runtime or none, and a Debian package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from wrn_deploy import Runner
from wrn_deploy.embed.native import find_native_tools

NATIVE = Path(__file__).resolve().parents[2] / "native"


def _needed(*files: Path) -> set[Path]:
    """The shared libraries that the loader finds for programs and libraries."""
    found = set[Path]()
    for file in files:
        listed = subprocess.run(["ldd", file], capture_output=True, text=True, check=True).stdout
        found |= {Path(path) for path in re.findall(r"(/\S+) \(0x", listed)}
    return found


@pytest.fixture
def root(library: Path, example: Path, made_bundle: Path, pixels: Path, tmp_path: Path) -> Path:
    """A root folder with the C and C++ libraries, the runner, ONNX Runtime, a bundle and a program; nothing else."""
    made = tmp_path / "root"
    for folder in ("bin", "lib"):
        (made / folder).mkdir(parents=True)
    shutil.copy(example, made / "bin" / "classify")
    for name in ("libwrn_runner.so.1", "libonnxruntime.so.1"):
        shutil.copy(library / "lib" / name, made / "lib" / name)
    for path in _needed(example, *(library / "lib").glob("lib*.so.1")):
        if path.is_relative_to(library):
            continue
        (made / path.relative_to("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, made / path.relative_to("/"))
    shutil.copytree(made_bundle, made / "bundle")
    shutil.copy(pixels, made / "images.raw")
    return made


def test_a_root_folder_without_python_is_enough(root: Path, made_bundle: Path, images: npt.NDArray[np.uint8]) -> None:
    assert not [path for path in root.rglob("*") if "python" in path.name.lower()]
    chroot = shutil.which("chroot", path="/usr/sbin:/sbin:/usr/bin:/bin")
    unshare = shutil.which("unshare", path="/usr/bin:/bin")
    if chroot is None or unshare is None:
        pytest.skip("no chroot, or no unshare")
    as_root = [] if os.geteuid() == 0 else [unshare, "--map-root-user"]
    command = [*as_root, chroot, str(root), "/bin/classify", "/bundle", "/images.raw"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={})
    if "unshare failed" in done.stderr:
        pytest.skip("this user cannot change its root folder")
    said = re.sub(r"Error in cpuinfo: .*\n", "", done.stderr)  # ONNX Runtime's, without /proc
    assert (done.returncode, said) == (0, "")
    with Runner.open(made_bundle, backend="onnxruntime") as runner:
        best = runner.predict(images).argmax(axis=1)
    assert [int(label) for label in re.findall(r": (\d) \(", done.stdout)] == list(best)


def test_without_onnxruntime_its_absence_is_named(root: Path) -> None:
    (root / "lib" / "libonnxruntime.so.1").unlink()
    command = [root / "bin" / "classify", root / "bundle", root / "images.raw"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={})
    if done.returncode == 0:
        pytest.skip("the system has ONNX Runtime")
    assert done.stderr.startswith(
        "error: cannot load ONNX Runtime (libonnxruntime.so.1: cannot open shared object file"
    )
    assert "WRN_RUNNER_ONNXRUNTIME" in done.stderr


@pytest.mark.parametrize(("file", "said"), [("nowhere.so", "cannot open shared"), ("libc.so.6", "no OrtGetApiBase in")])
def test_another_file_can_be_named(root: Path, file: str, said: str) -> None:
    command = [root / "bin" / "classify", root / "bundle", root / "images.raw"]
    moved = (root / "lib" / "libonnxruntime.so.1").rename(root / "elsewhere.so")
    named = {"WRN_RUNNER_ONNXRUNTIME": str(moved)}
    subprocess.run(command, capture_output=True, check=True, env=named)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"WRN_RUNNER_ONNXRUNTIME": file})
    assert done.returncode == 1
    assert said in done.stderr


def test_cpack_makes_a_debian_package(library: Path, tmp_path: Path) -> None:
    if shutil.which("dpkg-deb") is None or shutil.which("dpkg-shlibdeps") is None:
        pytest.skip("no dpkg-deb, or no dpkg-shlibdeps (dpkg-dev)")
    tools = find_native_tools()
    (tmp_path / "build").mkdir()
    # What is packed does not depend on how it was compiled; without optimisation it takes a third of the time.
    options = ["-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O0", f"-DONNXRUNTIME_INCLUDE_DIR={tools.headers}"]
    commands: tuple[list[str | Path], ...] = (
        [tools.cmake, "-S", NATIVE, "-B", "build", "-DCMAKE_INSTALL_PREFIX=/usr", *options],
        [tools.cmake, "--build", "build", "--parallel"],
        ["cpack", "-G", "DEB", "--config", "build/CPackConfig.cmake", "-B", "packages"],
    )
    for command in commands:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    (package,) = (tmp_path / "packages").glob("libwrn-runner_*.deb")
    listed = subprocess.run(["dpkg-deb", "--contents", package], capture_output=True, text=True, check=True).stdout
    names = set(re.findall(r"\./usr/(\S+[^/\s])(?: -> .*)?$", listed, re.MULTILINE))
    packed = {Path(name).name for name in names}
    assert {
        "libwrn_runner.so.1",
        "libwrn_runner.so",
        "wrn_runner.h",
        "wrn_runner.pc",
        "wrn_runnerConfig.cmake",
    } <= packed
    depends = subprocess.run(["dpkg-deb", "--field", package, "Depends"], capture_output=True, text=True, check=True)
    assert {"libc6", "libstdc++6"} <= set(re.findall(r"[\w+.-]+", depends.stdout))
    assert "python" not in depends.stdout
    assert (library / "lib" / "libwrn_runner.so.1").is_file()
