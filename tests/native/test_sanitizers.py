"""Threads, good and bad calls under sanitizers and valgrind, and any bytes for the readers: no report.

WRN_DEPLOY_STRESS_S sets the seconds of each, three times as many for any bytes; the default is short, for every change.
`make native-stress` runs them for a minute each, and shows what they print.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.embed.conftest import skip_without_tools
from wrn_deploy.embed.native import find_native_tools

HERE = Path(__file__).parent
NATIVE = HERE.parents[1] / "native"
SECONDS = float(os.environ.get("WRN_DEPLOY_STRESS_S", "2"))
SANITIZERS = {"address": "address,undefined", "thread": "thread"}
# Leaks that count are blocks to which no pointer is left; ONNX Runtime keeps others until the process ends.
MEMCHECK = (
    "--error-exitcode=99", "--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite",
    "--fair-sched=yes", "--num-callers=40",
)  # fmt: skip


def _compile(compiler: str, made: Path, sources: list[Path], *options: str) -> Path:
    """Compiles all sources as one unit: sanitizers make compiling slow."""
    skip_without_tools("native")
    headers = find_native_tools().headers
    everything = made.with_suffix(".cpp")
    everything.write_text("".join(f'#include "{source}"\n' for source in sources))
    flags = ["-std=c++17", "-O0", "-g1", '-DWRN_VERSION="stress"', "-ffp-contract=off", "-pthread", f"-I{NATIVE}/src"]
    include = [f"-I{NATIVE}/include", f"-isystem{headers}"]
    command: list[str | Path] = [compiler, *flags, *include, *options, everything, "-ldl", "-o", made]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "cannot find" in done.stderr and "san" in done.stderr:
        pytest.skip("the compiler has no such sanitizer")
    assert done.returncode == 0, done.stderr
    return made


def _stress(made: Path, *options: str) -> Path:
    return _compile("g++", made, [*sorted((NATIVE / "src").glob("*/*.cpp")), HERE / "stress.cpp"], *options)


def _run(command: list[str], library: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "WRN_RUNNER_ONNXRUNTIME": str(library / "lib" / "libonnxruntime.so.1")}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def _count(printed: str) -> int:
    """The calls that went well; none did what it must not."""
    counted = re.fullmatch(r"ok (\d+) refused (\d+) odd 0\n", printed)
    assert counted is not None, printed
    return int(counted[1])


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_eight_threads(sanitizer: str, library: Path, made_bundle: Path, tmp_path: Path) -> None:
    program = _stress(tmp_path / "stress", f"-fsanitize={SANITIZERS[sanitizer]}", "-fno-sanitize-recover=all")
    # ThreadSanitizer cannot place its memory where newer kernels put programs at random.
    start = ["setarch", "-R"] if sanitizer == "thread" and shutil.which("setarch") else []
    done = _run([*start, str(program), str(made_bundle), str(SECONDS)], library)
    if "unexpected memory mapping" in done.stderr or "personality" in done.stderr:
        pytest.skip("ThreadSanitizer cannot run on this kernel")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr[-5000:]
    print(f"{SANITIZERS[sanitizer]}, {SECONDS:g} s: {done.stdout}no report")  # noqa: T201
    assert _count(done.stdout) > 50


def test_no_memory_is_lost_or_read_before_it_is_written(library: Path, made_bundle: Path, tmp_path: Path) -> None:
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        pytest.skip("no valgrind")
    program = _stress(tmp_path / "stress")
    known = f"--suppressions={HERE / 'valgrind.supp'}"
    done = _run([valgrind, *MEMCHECK, known, str(program), str(made_bundle), str(SECONDS)], library)
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]
    summary = re.findall(r"(?:definitely lost|ERROR SUMMARY): .*", done.stderr)
    print(f"memcheck, {SECONDS:g} s: {done.stdout}{'; '.join(summary)}")  # noqa: T201
    assert _count(done.stdout) > 0


def _small(graph: Path) -> bytes:
    """The graph with at most two numbers along each axis of its weights, so that the fuzzer changes the rest."""
    model = onnx.load(graph)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.int64:  # those are axes and shapes
            few = np.array(values[tuple(slice(2) for _ in values.shape)])
            tensor.CopyFrom(numpy_helper.from_array(few, tensor.name))
    return bytes(model.SerializeToString())


def test_any_bytes(made_bundle: Path, made_interface_bundle: Path, tmp_path: Path) -> None:
    if shutil.which("clang++") is None:
        pytest.skip("no clang++")
    sources = [
        path for folder in ("text", "bundle", "onnx") for path in sorted((NATIVE / "src" / folder).glob("*.cpp"))
    ]
    options = ["-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=undefined"]
    fuzzer = _compile("clang++", tmp_path / "fuzz", [*sources, HERE / "fuzz.cpp"], *options)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for kind in (b"b", b"c"):
        (corpus / kind.decode()).write_bytes(kind + (made_bundle / "manifest.json").read_bytes())
    for at, graph in enumerate([*made_bundle.glob("*.onnx"), *made_interface_bundle.glob("*.onnx")]):
        (corpus / f"graph-{at}").write_bytes(b"a" + _small(graph))
    limits = [f"-max_total_time={max(1, int(3 * SECONDS))}", "-max_len=100000", "-rss_limit_mb=2048"]
    # Through a shell that forks: libFuzzer reads its peak memory, which starts at that of the process it comes from.
    shell = ["sh", "-c", '"$@"; exit $?', "sh"]
    done = subprocess.run([*shell, fuzzer, *limits, corpus], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-5000:]
    ran = re.search(r"Done \d+ runs .*", done.stderr)
    assert ran is not None
    print(f"fuzzer, address, undefined: {ran[0]}, no report")  # noqa: T201
