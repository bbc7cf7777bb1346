r"""Compares int8 graphs, ours and others': accuracy on real images, cost of making them, and speed on the CPU.

    python -m benchmarks.int8.environments ENVIRONMENTS
    python -m benchmarks.int8.accuracy --checkpoint wrn-16-2=FILE --calib-data train.npz --data test.parquet \
        [--data other.npz] [--ladder] [--frontier] [--peers --environments ENVIRONMENTS] [--out FILE.json]

The rows are in `rows.py`. All are calibrated on the same images, the first of `--calib-data`, each in its own process,
whose CPU seconds and peak memory are reported, the start of Python included. ONNX Runtime on the CPU answers all images
with every graph, also our graphs for TensorRT, whose Q/DQ it computes as they stand; the images are decoded once.
Agreement compares the argmax with fp32's; cosine and mean squared error compare the logits.

Graphs with uint8 activations and fp32 are also timed, in turns within one process: minimum and median for each batch
size and number of threads. `--ladder` adds our techniques one by one, `--frontier` the default with one thing changed
at a time (rows with more images read them from the same data), whose cost `--cost-rounds` measures in turns, `--peers`
the quantizers of ONNX Runtime, NNCF, ModelOpt and AIMET. The last three run in the environments that the first command
makes; without one, the peer's rows say how to make it. `python -m benchmarks.pages.int8` makes tables and a picture of
the results.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.int8.environments import installed
from benchmarks.int8.measure import Accuracy, Images, compare, latencies, logits_of, read_images
from benchmarks.int8.processes import Cost, Place, run_row, write_first_images
from benchmarks.int8.rows import FRONTIER, LADDER, PEERS, SHIPPED, Maker, Row
from benchmarks.output import make_table, start_record, write_record
from wrn_deploy.bundle import Bundle
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Silent

PACKAGES = ("onnx", "onnx-ir", "onnxruntime", "torch", "numpy", "pillow")
BATCHES = (1, 8)
ANSWERING = 1  # thread: answers are not timed, and two threads take a third more CPU seconds (measured)
SYMMETRIC, UNSIGNED = "int8-tensorrt.onnx", "int8-onnxruntime.onnx"


@dataclasses.dataclass(slots=True)
class Result:
    """One graph: what making it cost, accuracy by data set, times in ms by "threads/batch".

    With `--cost-rounds`, `rounds_cpu_s` are the CPU seconds of each round, and `cost` has their median.
    """

    name: str
    cost: Cost = dataclasses.field(default_factory=Cost)
    rounds_cpu_s: list[float] = dataclasses.field(default_factory=list)
    accuracy: dict[str, Accuracy] = dataclasses.field(default_factory=dict)
    latency_ms: dict[str, list[float]] = dataclasses.field(default_factory=dict)


def main() -> None:
    """Measures every checkpoint, writes the raw numbers, and prints the tables last."""
    given = _arguments()
    results: dict[str, list[Result]] = {}
    with scratch_folder() as work:
        calibration = {}
        for count in sorted({given.calib_size, *(row.images for row in _rows(given) if row.images)}):
            calibration[count] = work / f"{Path(given.calib_data).stem}-{count}.npz"
            write_first_images(given.calib_data, count, calibration[count])
        for name, _, weights in (text.partition("=") for text in given.checkpoint):
            folder = work / name
            bundle = export_bundle(ExportOptions(model=name, out=folder / "bundle", weights=Path(weights)), Silent())
            results[name] = []
            for _ in _measure(given, bundle, calibration, results[name]):
                _write(given, results)  # after each row, so that an interrupted run keeps what it measured
    for name, found in results.items():
        _print(name, found)


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", action="append", required=True, metavar="MODEL=FILE", help="repeatable")
    parser.add_argument("--calib-data", required=True)
    parser.add_argument("--calib-size", type=int, default=256)
    parser.add_argument("--data", action="append", required=True, help="labelled images; repeatable")
    parser.add_argument("--limit", type=int, help="use the first N images of each", metavar="N")
    parser.add_argument("--ladder", action="store_true", help="measure our techniques one by one too")
    parser.add_argument("--frontier", action="store_true", help="measure the default with one thing changed too")
    parser.add_argument("--cost-rounds", type=int, default=1, help="make the graphs of --frontier N times", metavar="N")
    parser.add_argument("--peers", action="store_true", help="measure the quantizers of others too")
    parser.add_argument("--environments", type=Path, help="the folder of their environments", metavar="FOLDER")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="for latency")
    parser.add_argument("--rounds", type=int, default=40, help="for latency; 0: none")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/int8-accuracy.json"))
    return parser.parse_args()


def _rows(given: Any) -> list[Row]:
    ours = (*(LADDER if given.ladder else ()), *(FRONTIER if given.frontier else ()))
    return [SHIPPED, *ours, *(PEERS if given.peers else ())]


def _measure(given: Any, bundle: Bundle, calibration: Mapping[int, Path], results: list[Result]) -> Iterator[None]:
    """Adds to `results`; yields after each row."""
    images = [read_images(data, bundle.spec, given.limit) for data in given.data]
    fp32 = bundle.file(bundle.artifacts["onnx-fp32"])
    reference = [logits_of(fp32, one, ANSWERING) for one in images]
    results.append(_scored(Result("fp32"), fp32, images, reference))
    timed = {"fp32": fp32}
    places = {
        count: Place(bundle=bundle.folder, images=file, environments=given.environments)
        for count, file in calibration.items()
    }
    for number, row in enumerate(_rows(given)):
        folder = bundle.folder.parent / str(number)
        cost = run_row(row, places[row.images or given.calib_size], folder)
        for name, file in _graphs(row, folder) if not cost.error else [(row.name, fp32)]:
            result = Result(name, cost)
            results.append(result if cost.error else _scored(result, file, images, reference))
            if not cost.error and (row.unsigned or file.name == UNSIGNED):
                timed[name] = file
            sys.stderr.write(f"{_describe(results[-1])}\n")
        yield
    for _ in range(given.cost_rounds - 1 if given.frontier else 0):
        for row in (SHIPPED, *FRONTIER):
            with scratch_folder() as folder:
                cost = run_row(row, places[row.images or given.calib_size], folder)
                names = [name for name, _ in _graphs(row, folder)]
            add_round([result for result in results if result.name in names], cost)
        yield
    for threads in given.threads if given.rounds else ():
        for batch in BATCHES:
            found = latencies(timed, images[0].pixels[:batch], threads, given.rounds)
            for result in results:
                if result.name in found:
                    result.latency_ms[f"{threads}/{batch}"] = [round(sample, 4) for sample in found[result.name]]
            yield


def _graphs(row: Row, folder: Path) -> list[tuple[str, Path]]:
    if row.maker is not Maker.OURS:
        return [(row.name, folder / "int8.onnx")]
    symmetric = (f"{row.name}, for TensorRT" if row is SHIPPED else row.name, folder / SYMMETRIC)
    return [symmetric, (f"{row.name}, for ONNX Runtime", folder / UNSIGNED)] if row is SHIPPED else [symmetric]


def add_round(results: list[Result], cost: Cost) -> None:
    """Adds a row's cost in a further round to its graphs' results."""
    for result in results:
        if not (cost.error or result.cost.error):
            result.rounds_cpu_s = [*(result.rounds_cpu_s or [result.cost.cpu_s]), cost.cpu_s]
            median = round(statistics.median(result.rounds_cpu_s), 2)
            result.cost = dataclasses.replace(result.cost, cpu_s=median)


def _scored(result: Result, graph: Path, images: list[Images], reference: list[Any]) -> Result:
    for one, wanted in zip(images, reference, strict=True):
        logits = logits_of(graph, one, ANSWERING, fuses_qdq=graph.name != SYMMETRIC)
        result.accuracy[one.name] = compare(logits, wanted, one.labels)
    return result


def _write(given: Any, results: dict[str, list[Result]]) -> None:
    record = {
        **start_record("int8-accuracy", *PACKAGES),
        "calibration": {"data": Path(given.calib_data).name, "images": given.calib_size},
        "limit": given.limit,
        "environments": installed(given.environments) if given.peers else {},
        "models": {name: [dataclasses.asdict(result) for result in found] for name, found in results.items()},
    }
    write_record(given.out, record)


def _describe(result: Result) -> str:
    scores = [
        f"{name}: top-1 {100 * one.correct / one.images:.2f}, agrees {100 * one.agreeing / one.images:.2f} %, "
        f"mse {one.logit_error:.4f}"
        for name, one in result.accuracy.items()
    ]
    return f"{result.name}: {result.cost.cpu_s} CPU s; {'; '.join(scores) or result.cost.error}"


def _print(model: str, results: list[Result]) -> None:
    data = [*results[0].accuracy]
    title = f"{model}: top-1 / agreement with fp32 (%) / mean cosine / mean squared error of the logits"
    table = make_table("graph", *data, "CPU s", "of it start", "peak memory", title=title)
    for result in results:
        scores = [
            f"{100 * one.correct / one.images:.2f} / {100 * one.agreeing / one.images:.2f} / {one.cosine:.5f} / "
            f"{one.logit_error:.4f}"
            for one in result.accuracy.values()
        ]
        cost = result.cost
        cells = [f"{cost.cpu_s:.1f}", f"{cost.start_cpu_s:.1f}", f"{cost.peak_rss_bytes / 1e6:.0f} MB"]
        table.add_row(result.name, *(scores or [""] * len(data)), *(cells if cost.cpu_s else ["", "", ""]))
    Console(width=170).print(table)
    sys.stdout.writelines(f"{result.name}: {result.cost.error}\n" for result in results if result.cost.error)
    timed = [result for result in results if result.latency_ms]
    if not timed:
        return
    settings = [*timed[0].latency_ms]
    headers = ["threads {}, batch {}".format(*one.split("/")) for one in settings]
    table = make_table("graph", *headers, title=f"{model}: ms, minimum / median")
    for result in timed:
        times = [result.latency_ms[setting] for setting in settings]
        table.add_row(result.name, *(f"{min(one):.3f} / {statistics.median(one):.3f}" for one in times))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
