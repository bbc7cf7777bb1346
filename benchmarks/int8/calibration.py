r"""Measures what calibration to INT8 costs, ours and others': CPU seconds over those of an fp32 run, and memory.

    python -m benchmarks.int8.environments ENVIRONMENTS
    python -m benchmarks.int8.calibration --network wrn-50-2 FOLDER_OF_IMAGES 64 --network wrn-16-2 train.npz 256 \
        [--many 512] [--peer-rounds 2 --environments ENVIRONMENTS] [--out FILE.json]

Candidates take turns (A B C, A B C), each in its own process; CPU seconds and peak memory are those of the whole
process: Python, its libraries (also given alone, as the start), reading and preprocessing the same images one by one,
and writing the graphs. The floor only runs the fp32 graph on them with ONNX Runtime, once with its default threads and
once with one thread. Ours is the whole step: it calibrates, rounds, writes both Q/DQ graphs, and compares them with
fp32; its passes alone only collect ranges, as the peers do, and write both graphs. Peers write one graph. Weights are
random: accuracy is not measured.

A network that resizes its images gets JPEGs: the first of the data, cropped to their middle square. If there are too
few, they are used again: the n-th time with n sixteenths of the side cut off at the top and left, and every second time
mirrored, so that no two are equal. Other networks get the first images of the data as they are.

`--peer-rounds` also measures the quantizers of others, in the environments that the first command makes; without one,
the peer's rows say how to make it. ONNX Runtime's entropy calibration takes 10 GB for 64 images of wrn-50-2.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console

from benchmarks.int8.environments import installed
from benchmarks.int8.processes import Cost, Place, run_row, write_first_images
from benchmarks.int8.rows import COST_PEERS, FLOORS, NEAREST, PASSES, SHIPPED, Row
from benchmarks.output import make_table, start_record, write_record
from wrn_deploy.data import Role, open_data
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Silent

SIDE = 256
PACKAGES = ("onnx", "onnx-ir", "onnxruntime", "torch", "numpy", "pillow")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One process: its row, the network and number of images, and what it cost."""

    candidate: str
    network: str
    images: int
    cost: Cost


def main() -> None:
    """Runs all candidates in turns, writes the raw numbers after each run, and prints the tables last."""
    given = _arguments()
    runs: list[Run] = []
    for model, data, count in given.network:
        with scratch_folder() as work:
            _measure(given, work, runs, model=model, data=data, count=int(count))
    for model, _, _ in given.network:
        _print(model, [run for run in runs if run.network == model])


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--network", action="append", nargs=3, required=True, metavar=("MODEL", "DATA", "IMAGES"), help="repeatable"
    )
    parser.add_argument("--many", type=int, default=0, help="images of a final run, which shows the memory")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--peer-rounds",
        type=int,
        default=0,
        help="rounds in which the quantizers of others are measured too: 10 GB of memory",
        metavar="N",
    )
    parser.add_argument("--environments", type=Path, help="the folder of their environments", metavar="FOLDER")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/calibration.json"))
    return parser.parse_args()


def _measure(given: Any, work: Path, runs: list[Run], *, model: str, data: str, count: int) -> None:
    """Adds a network's runs to `runs`."""
    bundle = export_bundle(ExportOptions(model=model, out=work / "bundle", random_weights=True), Silent())
    places = {}
    for number in {count, given.many} - {0}:
        if bundle.spec.preprocessing.resize is None:
            images = work / f"{number}.npz"
            write_first_images(data, number, images)
        else:
            images = work / str(number)
            _write_squares(data, number, images)
        places[number] = Place(bundle=bundle.folder, images=images, environments=given.environments)
    turns: list[Row] = []
    for turn in range(given.rounds):
        turns += [*FLOORS, *PASSES, SHIPPED, NEAREST, *(COST_PEERS if turn < given.peer_rounds else ())]
    many = [(SHIPPED, given.many)] if given.many else []
    for row, number in [(row, count) for row in turns] + many:
        with scratch_folder() as folder:
            cost = run_row(row, places[number], folder)
        runs.append(Run(candidate=row.name, network=model, images=number, cost=cost))
        sys.stderr.write(f"{model}, {row.name}, {number} images: {cost.cpu_s} CPU s, {cost.wall_s} s {cost.error}\n")
        _write(given, runs)


def _write_squares(data: str, count: int, folder: Path) -> None:
    folder.mkdir()
    source = open_data(data, Role.TRAIN)
    written = 0
    while written < count:
        again = written // len(source)
        for item in source.items():
            pixels = Image.fromarray(item.load())
            half = min(pixels.size) / 2
            middle, cut = (pixels.width / 2, pixels.height / 2), again * half / 8
            corner = (middle[0] - half + cut, middle[1] - half + cut)
            square = pixels.resize((SIDE, SIDE), box=(*corner, middle[0] + half, middle[1] + half))
            if again % 2:
                square = square.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            square.save(folder / f"{written:05d}.jpg", quality=95)
            written += 1
            if written == count:
                break


def _write(given: Any, runs: list[Run]) -> None:
    record = {
        **start_record("calibration", *PACKAGES),
        "networks": {model: {"data": Path(data).name, "images": int(count)} for model, data, count in given.network},
        "environments": installed(given.environments) if given.peer_rounds else {},
        "runs": [dataclasses.asdict(run) for run in runs],
    }
    write_record(given.out, record)


def _print(model: str, runs: list[Run]) -> None:
    table = make_table(
        "candidate", "images", "CPU s", "of it start", "ratio", "ratio, 1 thread", "wall s", "peak memory",
        title=model,
        caption="ratio: CPU seconds per image over those of the plain fp32 run, median (minimum)",
    )  # fmt: skip
    rows: dict[tuple[str, int], list[Cost]] = {}
    for run in runs:
        rows.setdefault((run.candidate, run.images), []).append(run.cost)
    floors = [[run.cost.cpu_s / run.images for run in runs if run.candidate == row.name] for row in FLOORS]
    failed = []
    for (candidate, count), costs in rows.items():
        error = next((cost.error for cost in costs if cost.error), "")
        if error:
            failed.append(f"{candidate}: {error}\n")
            continue
        each = [cost.cpu_s / count for cost in costs]
        ratios = [
            f"{statistics.median(each) / statistics.median(floor):.2f} ({min(each) / min(floor):.2f})"
            for floor in floors
        ]
        cpu, start, wall = (
            f"{statistics.median(getattr(cost, name) for cost in costs):.1f}"
            for name in ("cpu_s", "start_cpu_s", "wall_s")
        )
        memory = max(cost.peak_rss_bytes for cost in costs)
        table.add_row(candidate, str(count), cpu, start, *ratios, wall, f"{memory / 1e6:.0f} MB")
    Console(width=130).print(table)
    sys.stdout.writelines(failed)


if __name__ == "__main__":
    main()
