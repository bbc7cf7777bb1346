"""Threads, good and bad calls under AddressSanitizer and ThreadSanitizer, and any bytes for the readers: no report.

WRN_DEPLOY_STRESS_S sets the seconds of each; the default is short, for every change.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.embed.conftest import skip_without_tools
from wrn_deploy.embed.native import find_native_tools

HERE = Path(__file__).parent
NATIVE = HERE.parents[1] / "native"
SECONDS = os.environ.get("WRN_DEPLOY_STRESS_S", "2")
SANITIZERS = {"address": "address,undefined", "thread": "thread"}


def _compile(compiler: str, made: Path, *options: str | Path) -> Path:
    skip_without_tools("native")
    headers = find_native_tools().headers
    flags = ["-std=c++17", "-O0", "-g1", '-DWRN_VERSION="stress"', "-ffp-contract=off", "-pthread", f"-I{NATIVE}/src"]
    command: list[str | Path] = [compiler, *flags, f"-I{NATIVE}/include", f"-isystem{headers}", *options, "-o", made]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "cannot find" in done.stderr and "san" in done.stderr:
        pytest.skip("the compiler has no such sanitizer")
    assert done.returncode == 0, done.stderr
    return made


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_eight_threads(sanitizer: str, library: Path, made_bundle: Path, tmp_path: Path) -> None:
    options = [f"-fsanitize={SANITIZERS[sanitizer]}", "-fno-sanitize-recover=all"]
    everything = tmp_path / "all.cpp"  # one unit: sanitizers make compiling slow
    sources = sorted((NATIVE / "src").glob("*/*.cpp"))
    everything.write_text("".join(f'#include "{source}"\n' for source in [*sources, HERE / "stress.cpp"]))
    program = _compile("g++", tmp_path / "stress", *options, everything, "-ldl")
    environment = {**os.environ, "WRN_RUNNER_ONNXRUNTIME": str(library / "lib" / "libonnxruntime.so.1")}
    # ThreadSanitizer cannot place its memory where newer kernels put programs at random.
    start = ["setarch", "-R"] if sanitizer == "thread" and shutil.which("setarch") else []
    command = [*start, str(program), str(made_bundle), SECONDS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if "unexpected memory mapping" in done.stderr or "personality" in done.stderr:
        pytest.skip("ThreadSanitizer cannot run on this kernel")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr[-5000:]
    counted = re.fullmatch(r"ok (\d+) refused (\d+) odd 0\n", done.stdout)
    assert counted is not None
    assert int(counted[1]) > 50


def test_any_bytes(made_bundle: Path, tmp_path: Path) -> None:
    if shutil.which("clang++") is None:
        pytest.skip("no clang++")
    sources = [
        path for folder in ("text", "bundle", "onnx") for path in sorted((NATIVE / "src" / folder).glob("*.cpp"))
    ]
    everything = tmp_path / "all.cpp"
    everything.write_text("".join(f'#include "{source}"\n' for source in [*sources, HERE / "fuzz.cpp"]))
    options = ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=undefined"]
    fuzzer = _compile("clang++", tmp_path / "fuzz", *options, everything)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "manifest").write_bytes(b"b" + (made_bundle / "manifest.json").read_bytes())
    (corpus / "graph").write_bytes(b"a" + (made_bundle / "fp32.onnx").read_bytes())
    limits = [f"-max_total_time={SECONDS}", "-max_len=100000", "-rss_limit_mb=2048"]
    # Through a shell that forks: libFuzzer reads its peak memory, which starts at that of the process it comes from.
    shell = ["sh", "-c", '"$@"; exit $?', "sh"]
    done = subprocess.run([*shell, fuzzer, *limits, corpus], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-5000:]
    assert re.search(r"Done \d+ runs", done.stderr)
