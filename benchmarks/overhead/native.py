r"""Compares the C++ library, the one with Python inside, the Python Runner, and a program with ONNX Runtime's C API.

    python -m benchmarks.overhead.native BUNDLE [--precision fp32] [--starts 12] [--rounds 6] [--turns 20] [--out FILE]

The bundle's network takes images of 32x32 and gives logits. Each program starts, opens the bundle, infers once and
ends: CPU time and resident set. Then all take turns at calls, the others waiting: microseconds a call, normalised
images and pixels; and calls per second of 1 and 2 threads.

What a program adds to a call is the median, over all turns, of the difference between its median in a turn and that of
the bare program in the same turn: what else the machine does changes slowly, and hits both. Where a process has its
memory can cost a per cent for as long as it runs, so that each round starts all programs again.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
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
WARM_TURNS = 2
KINDS = {"float32, 1": (1, 0, 1), "uint8, 1": (1, 1, 1), "float32, 8": (1, 0, 8)}  # threads, pixels, batch
KEYS = {"fp32": "onnx-fp32", "int8": "onnx-int8-onnxruntime"}
THREADS = (1, 2)
ALLOWED = "1 us + 1 % of the bare program's median"  # for the C++ library

# Of a kind of call and a program: the microseconds of each call, turn by turn.
Turns = dict[str, dict[str, list[list[float]]]]


def main() -> None:
    """Builds the programs, measures, writes the raw numbers, and prints the tables."""
    given = _arguments()
    bundle = Bundle.open(given.bundle)
    calls: Turns = {kind: {} for kind in KINDS}
    rates: dict[str, dict[str, list[float]]] = {}
    with scratch_folder() as folder:
        programs = _build(folder, bundle, given.precision)
        starts: dict[str, list[list[float]]] = {name: [] for name in programs}
        for _ in range(given.starts):
            for name, program in programs.items():
                starts[name].append(_start(program))
        for _ in range(given.rounds):
            with ExitStack() as children:
                opened = {name: _ready(program, children) for name, program in programs.items()}
                for kind, numbers in KINDS.items():
                    _call(opened, numbers, given.turns, calls[kind])
                _rate(opened, rates)
    record = {
        **start_record("native", "onnxruntime", "numpy", "cffi"),
        "bundle": bundle.spec.name,
        "precision": given.precision,
        "starts": starts,
        "calls_us": calls,
        "calls_a_second": rates,
    }
    write_record(given.out, record)
    for table in (_start_table(starts), _call_table(calls), _rate_table(rates)):
        Console(width=120).print(table, "", sep="\n")


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--precision", default="fp32", choices=KEYS)
    parser.add_argument("--starts", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=6, help="processes of each program")
    parser.add_argument("--turns", type=int, default=20, help="turns of 20 calls in each round")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/native.json"))
    return parser.parse_args()


def _build(folder: Path, bundle: Bundle, precision: str) -> dict[str, list[str]]:
    """The programs and their arguments; each finds the same file of ONNX Runtime."""
    programs = {}
    given = [str(bundle.folder), precision]
    for name in ("native", "python"):
        library = folder / name
        write_package(library, Silent(), python=name == "python")
        flags = [f"-I{library}/include", f"-L{library}/lib", f"-Wl,-rpath,{library}/lib", "-lwrn_runner", "-pthread"]
        made = folder / f"program-{name}"
        subprocess.run(["g++", "-std=c++17", "-O2", HERE / "embedding.cpp", *flags, "-o", made], check=True)
        programs[name] = [str(made), *given]
    os.environ["WRN_RUNNER_ONNXRUNTIME"] = str(folder / "native" / "lib" / "libonnxruntime.so.1")
    headers = f"-I{find_native_tools().headers}"
    made = folder / "program-bare"
    flags = ["-std=c++17", "-O2", headers, "-pthread"]
    subprocess.run(["g++", *flags, HERE / "bare.cpp", "-ldl", "-o", made], check=True)
    graph = bundle.file(bundle.artifacts[KEYS[precision]])
    runner = [sys.executable, "-m", "benchmarks.overhead.asked", *given]
    return {"bare": [str(made), str(graph), str(bundle.spec.classes)], **programs, "Runner": runner}


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


def _call(
    children: dict[str, Any], numbers: tuple[int, int, int], turns: int, made: dict[str, list[list[float]]]
) -> None:
    """Adds turns of calls, in one order and then in the other; the bare program takes no pixels."""
    threads, pixels, batch = numbers
    names = [name for name in children if not (pixels and name == "bare")]
    for name in names:
        made.setdefault(name, [])
    for turn in range(WARM_TURNS + turns):
        for name in names[:: 1 if turn % 2 else -1]:
            took = [each / 1e3 for each in _ask(children[name], threads, CALLS, pixels, batch)[1:]]
            if turn >= WARM_TURNS:
                made[name].append(took[1:])  # the first call of a turn finds cold caches


def _rate(children: dict[str, Any], rates: dict[str, dict[str, list[float]]]) -> None:
    for name in children:
        rates.setdefault(name, {str(threads): [] for threads in THREADS})
    for turn in range(4):
        for name in [*children][:: 1 if turn % 2 else -1]:
            for threads in THREADS:
                seconds = _ask(children[name], threads, 200, 0, 1)[0] / 1e9
                rates[name][str(threads)].append(threads * 200 / seconds)


def _start_table(starts: dict[str, list[list[float]]]) -> Table:
    table = make_table("program", "CPU ms, min", "median", "resident MB, median", caption="start to the first result")
    for name, samples in starts.items():
        cpu, resident = zip(*samples, strict=True)
        row = (min(cpu), statistics.median(cpu), statistics.median(resident) / 1e6)
        table.add_row(name, *(f"{number:.1f}" for number in row))
    return table


def _call_table(calls: Turns) -> Table:
    table = make_table("images, batch", "program", "min us", "median us", "added us", "allowed us", caption=ALLOWED)
    for kind, programs in calls.items():
        bare = programs.get("bare")
        for name, turns in programs.items():
            every = [took for turn in turns for took in turn]
            added = allowed = ""
            if bare is not None and name != "bare":
                added = f"{_added(turns, bare):.2f}"
            if bare is not None and name == "native":
                allowed = f"{1 + statistics.median(took for turn in bare for took in turn) / 100:.2f}"
            table.add_row(kind, name, f"{min(every):.2f}", f"{statistics.median(every):.2f}", added, allowed)
    return table


def _added(turns: list[list[float]], bare: list[list[float]]) -> float:
    pairs = zip(turns, bare, strict=True)
    return statistics.median(statistics.median(ours) - statistics.median(theirs) for ours, theirs in pairs)


def _rate_table(rates: dict[str, dict[str, list[float]]]) -> Table:
    table = make_table("calls a second, median", *(f"threads: {threads}" for threads in THREADS))
    for name, made in rates.items():
        table.add_row(name, *(f"{statistics.median(each):.0f}" for each in made.values()))
    return table


if __name__ == "__main__":
    main()
