"""Eight threads on a GPU of the stand-in's under AddressSanitizer and ThreadSanitizer: no report, nothing left.

WRN_DEPLOY_STRESS_S sets the seconds of each; the default is short.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.driver import environment
from tests.driver.library.conftest import NATIVE, VARIABLES, MakeBundle, compile_fake, find_headers
from wrn_deploy.embed.native import find_native_tools
from wrn_deploy.embed.tensorrt import find_cuda_headers

HERE = Path(__file__).parent
SECONDS = os.environ.get("WRN_DEPLOY_STRESS_S", "2")
SANITIZERS = {"address": "address,undefined", "thread": "thread"}


def run_compiler(*command: object) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if "cannot find" in done.stderr and "san" in done.stderr:
        pytest.skip("the compiler has no such sanitizer")
    assert done.returncode == 0, done.stderr[-5000:]


def compile_together(folder: Path, sources: list[Path], *options: object) -> None:
    """One unit: sanitizers make compiling slow."""
    everything = folder / "all.cpp"
    everything.write_text("".join(f'#include "{source}"\n' for source in sources))
    run_compiler("g++", "-std=c++17", "-O0", "-g1", "-pthread", everything, *options, "-ldl")


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_eight_threads(sanitizer: str, make: MakeBundle, flavor: str, tmp_path: Path) -> None:
    headers = next(each for each in find_headers() if each.flavor == flavor)
    # vptr compares types by addresses, and a library that hides its symbols has its own.
    flags = [f"-fsanitize={SANITIZERS[sanitizer]}", "-fno-sanitize=vptr", "-fno-sanitize-recover=all"]
    include = [f"-isystem{headers.folder}", f"-isystem{find_cuda_headers()}", f"-I{NATIVE / 'src'}"]
    include += [f"-I{NATIVE / 'include'}", f"-I{NATIVE / 'tensorrt'}", '-DWRN_VERSION="stress"']
    shared = ["-fPIC", "-shared", *flags, *include]
    driver = sorted(path for path in (HERE.parent / "source").glob("*.cpp") if path.name != "runtime.cpp")
    objects = [tmp_path / f"{source.stem}.o" for source in driver]
    for source, target in zip(driver, objects, strict=True):
        run_compiler("g++", "-std=c++20", "-O0", "-g1", "-fPIC", *flags, *include, "-c", source, "-o", target)
    run_compiler("gcc", "-fPIC", "-w", "-c", environment.BUILD / "objects" / "stubs.c", "-o", tmp_path / "stubs.o")
    cuda = tmp_path / "libcuda.so.1"
    soname = "-Wl,-soname,libcuda.so.1"
    run_compiler("g++", "-shared", *flags, *objects, tmp_path / "stubs.o", "-pthread", soname, "-o", cuda)
    parts = [NATIVE / "src" / path for path in ("text/format.cpp", "plan/profiles.cpp", "plan/validity.cpp")]
    plans = [*sorted((NATIVE / "tensorrt").glob("*.cpp")), *parts]
    compile_together(tmp_path, plans, *shared, "-o", tmp_path / f"libwrn_runner_{flavor}.so.1")
    fake = tmp_path / "our.so"
    compile_fake(headers, fake, [*flags, "-g1"])
    core = [*sorted((NATIVE / "src").glob("*/*.cpp")), HERE / "stress.cpp"]
    onnxruntime = f"-isystem{find_native_tools().headers}"
    rpath = f"-Wl,-rpath,{tmp_path}"
    program = tmp_path / "stress"
    compile_together(tmp_path, core, *flags, *include, onnxruntime, cuda, rpath, "-o", program)
    # ThreadSanitizer cannot place its memory where newer kernels put programs at random.
    start = ["setarch", "-R"] if sanitizer == "thread" and shutil.which("setarch") else []
    kept, freed = tmp_path / "lsan.supp", tmp_path / "tsan.supp"
    kept.write_text("leak:cuStreamCreate\n")  # the stand-in keeps streams, as others may wait for their work
    freed.write_text("race:_dl_deallocate_tls\n")  # glibc's own: it frees the variables of a thread that has ended
    variables = {
        **os.environ,
        VARIABLES[flavor]: str(fake),
        "LD_LIBRARY_PATH": str(tmp_path),
        "LSAN_OPTIONS": f"suppressions={kept}:print_suppressions=0",
        "TSAN_OPTIONS": f"suppressions={freed}",
    }
    command = [*start, str(program), str(make()), flavor, SECONDS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    if "unexpected memory mapping" in done.stderr or "personality" in done.stderr:
        pytest.skip("ThreadSanitizer cannot run on this kernel")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout[-3000:] + done.stderr[-5000:]
    counted = re.fullmatch(r"ok (\d+) refused (\d+) odd 0\n", done.stdout)
    assert counted is not None, done.stdout
    assert int(counted[1]) > 50
