r"""Compares the C++ library, the one with Python inside, and a program that has ONNX Runtime's C API alone.

    python -m benchmarks.overhead.native BUNDLE [--precision fp32] [--starts 12] [--turns 60] [--out FILE]

The bundle's network takes images of 32x32. Each program starts, opens the bundle, infers once and ends: CPU time and
resident set. Then all take turns at calls, the others waiting: microseconds a call, normalised images and pixels; and
calls per second of 1 and 2 threads.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.output import make_table, start_record, write_record
from wrn_deploy.bundle import Bundle
from wrn_deploy.embed.native import find_native_tools
from wrn_deploy.embed.package import write_package
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Silent

HERE = Path(__file__).parent
CALLS, LINES = 20, 5  # calls a turn; lines that a program prints before it waits
KINDS = {"float32, 1": (1, 0, 1), "uint8, 1": (1, 1, 1), "float32, 8": (1, 0, 8)}  # threads, pixels, batch
KEYS = {"fp32": "onnx-fp32", "int8": "onnx-int8-onnxruntime"}


def main() -> None:
    """Builds the programs, measures, writes the raw numbers, and prints the tables."""
    given = _arguments()
    bundle = Bundle.open(given.bundle)
    with scratch_folder() as folder:
        programs = _build(folder, bundle, given.precision)
        starts: dict[str, list[list[float]]] = {name: [] for name in programs}
        for _ in range(given.starts):
            for name, program in programs.items():
                starts[name].append(_start(program))
        with ExitStack() as children:
            opened = {name: _ready(program, children) for name, program in programs.items()}
            calls = {kind: _calls(opened, numbers, given.turns) for kind, numbers in KINDS.items()}
            rates = _rates(opened)
    record = {
        **start_record("native", "onnxruntime", "numpy", "cffi"),
        "bundle": bundle.spec.name,
        "precision": given.precision,
        "starts": starts,
        "calls_us": calls,
        "calls_a_second": rates,
    }
    write_record(given.out, record)
    for table in (_start_table(starts), _call_table(calls)):
        Console(width=120).print(table, "", sep="\n")
    for name, threads in rates.items():
        print(name, {count: round(statistics.median(each)) for count, each in threads.items()}, "calls/s")  # noqa: T201


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--precision", default="fp32", choices=KEYS)
    parser.add_argument("--starts", type=int, default=12)
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/native.json"))
    return parser.parse_args()


def _build(folder: Path, bundle: Bundle, precision: str) -> dict[str, list[str]]:
    """The programs and their arguments; each finds the same file of ONNX Runtime."""
    programs = {}
    for name in ("native", "python"):
        library = folder / name
        write_package(library, Silent(), python=name == "python")
        flags = [f"-I{library}/include", f"-L{library}/lib", f"-Wl,-rpath,{library}/lib", "-lwrn_runner", "-pthread"]
        made = folder / f"program-{name}"
        subprocess.run(["g++", "-std=c++17", "-O2", HERE / "embedding.cpp", *flags, "-o", made], check=True)
        programs[name] = [str(made), str(bundle.folder), precision]
    os.environ["WRN_RUNNER_ONNXRUNTIME"] = str(folder / "native" / "lib" / "libonnxruntime.so.1")
    headers = f"-I{find_native_tools().headers}"
    made = folder / "program-bare"
    subprocess.run(["g++", "-std=c++17", "-O2", headers, HERE / "bare.cpp", "-ldl", "-o", made], check=True)
    graph = bundle.file(bundle.artifacts[KEYS[precision]])
    return {"bare": [str(made), str(graph), str(bundle.spec.classes)], **programs}


def _start(program: list[str]) -> list[float]:
    """CPU milliseconds of the whole process, and its resident bytes after the first inference."""
    child = subprocess.Popen(program, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert child.stdout is not None
    lines = dict(line.split(maxsplit=1) for line in child.stdout)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return [1e3 * (used.ru_utime + used.ru_stime), float(lines["first"].split()[1])]


def _ready(program: list[str], children: ExitStack) -> subprocess.Popen[str]:
    child = children.enter_context(subprocess.Popen(program, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    assert child.stdout is not None
    for _ in range(LINES):
        child.stdout.readline()
    return child


def _ask(child: subprocess.Popen[str], threads: int, calls: int, pixels: int, batch: int) -> list[int]:
    """Nanoseconds of all calls together, then of each call of the first thread."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(f"{threads} {calls} {pixels} {batch}\n")
    child.stdin.flush()
    return [int(number) for number in child.stdout.readline().split()]


def _calls(children: dict[str, Any], numbers: tuple[int, int, int], turns: int) -> dict[str, list[float]]:
    threads, pixels, batch = numbers
    samples: dict[str, list[float]] = {name: [] for name in children if not (pixels and name == "bare")}
    for turn in range(2 + turns):
        for name, own in samples.items():
            made = [each / 1e3 for each in _ask(children[name], threads, CALLS, pixels, batch)[1:]]
            if turn >= 2:
                own.extend(made[1:])  # the first call of a turn finds cold caches
    return samples


def _rates(children: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    rates: dict[str, dict[str, list[float]]] = {}
    for _ in range(8):
        for name in ("native", "python"):
            for threads in (1, 2):
                seconds = _ask(children[name], threads, 200, 0, 1)[0] / 1e9
                rates.setdefault(name, {}).setdefault(str(threads), []).append(threads * 200 / seconds)
    return rates


def _start_table(starts: dict[str, list[list[float]]]) -> Table:
    table = make_table("program", "CPU ms, min", "median", "resident MB, median", caption="start to the first result")
    for name, samples in starts.items():
        cpu, resident = zip(*samples, strict=True)
        row = (min(cpu), statistics.median(cpu), statistics.median(resident) / 1e6)
        table.add_row(name, *(f"{number:.1f}" for number in row))
    return table


def _call_table(calls: dict[str, dict[str, list[float]]]) -> Table:
    table = make_table("images, batch", "program", "min us", "median us")
    for kind, samples in calls.items():
        for name, own in samples.items():
            table.add_row(kind, name, f"{min(own):.2f}", f"{statistics.median(own):.2f}")
    return table


if __name__ == "__main__":
    main()
