"""Measures the WRN paper's table of times again: five ImageNet networks at batch 16, and their ratio to ResNet-50.

    python -m benchmarks.steps.paper_table --bundles FOLDER [--batch 16] [--rounds 20] [--backend torch] [--out FILE]

The table is from Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016: ms for a batch of 16 images on the
authors' machine. Here it is inference on another machine: only the ratio to ResNet-50 can be compared.

Missing bundles are exported with random weights: times do not depend on the values. Each network has its own process;
they are measured in turns as `wrn-deploy bench` measures candidates, with the same paired ratios. The default runtime
is ONNX Runtime in fp32 on a CPU and `fastest` on a GPU: fp16 plans are built for each installed TensorRT, and of all
candidates that can run every bundle, the one with the lowest time for ResNet-50 after a warm-up is used.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.output import make_table, start_record, write_record
from wrn_deploy.bench.measuring.isolate import Worker
from wrn_deploy.bench.measuring.worker import WorkerConfig
from wrn_deploy.bench.report.derived import summarize
from wrn_deploy.bench.report.ratios import Ratio, paired_ratio
from wrn_deploy.bench.report.report import Boundary, Settings
from wrn_deploy.bundle import Bundle
from wrn_deploy.cli.progress import new_progress
from wrn_deploy.engines.flavor import installed_flavors
from wrn_deploy.engines.options import EngineOptions, Profile
from wrn_deploy.errors import DeployError
from wrn_deploy.files.new_file import new_file
from wrn_deploy.machine import find_gpu, usable_cores
from wrn_deploy.models import describe_model
from wrn_deploy.models.cost import Cost, count_cost
from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
from wrn_deploy.pipeline.measuring.rounds import WARM_UP_S, RowBuilder, start, time_rounds
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.runtime.backend import examine, find_runtime, known_pairs, runtimes
from wrn_deploy.spec import Precision

BASELINE = "resnet-50"
# The paper's ms at batch 16, by this project's names.
PAPER_MS = {BASELINE: 49, "resnet-101": 82, "resnet-152": 115, "wrn-50-2": 93, "preresnet-200": 154}
SECONDS = 30.0  # of a network's turns together; a turn has at least one run
FASTEST = "fastest"
IMAGES, SIDE = "noise.npz", 256  # the values of the images do not matter

Pair = tuple[str, Precision]  # a backend and a precision


@dataclasses.dataclass(slots=True, kw_only=True)
class NetworkRow(RowBuilder):
    """Collects what is measured of one network; its `name` differs, although the runtime is the same."""

    model: str = ""

    @property
    def name(self) -> str:
        """The network's name."""
        return self.model


def main() -> None:
    """Exports what is missing, measures, writes the raw numbers, and prints the table."""
    given = _arguments()
    given.bundles.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (given.batch, SIDE, SIDE, 3), np.uint8)
    with new_file(given.bundles / IMAGES) as stream:
        np.savez(stream, images=noise)
    bundles = {model: _export(model, given.bundles / model) for model in PAPER_MS}
    pair = given.backend, Precision(given.precision)
    if given.backend == FASTEST:
        pair = _fastest(bundles, given)
    settings = Settings(
        batches=(given.batch,),
        rounds=given.rounds,
        duration_s=SECONDS,
        iterations=given.iterations,
        threads=given.threads,
        streams=1,
        boundary=Boundary.COMPUTE,
    )
    entries = _measure(bundles, pair, settings)
    if all(entry.skipped for entry in entries):
        raise SystemExit(f"nothing was measured: {entries[0].skipped}")
    costs = {entry.model: count_cost(describe_model(entry.model)) for entry in entries}
    record = {
        **start_record("paper table", "onnxruntime", "onnxruntime-gpu", "torch", "numpy"),
        "paper": "Zagoruyko and Komodakis, Wide Residual Networks, BMVC 2016",
        "candidate": f"{find_runtime(pair[0]).title} {pair[1]}",
        "settings": dataclasses.asdict(settings),
        "networks": [_record(entry, entries[0], costs[entry.model]) for entry in entries],
    }
    console = Console(width=130)
    console.print(_table(record))
    for entry in entries:
        if entry.skipped is not None:
            console.print(f"{entry.model} was not measured: {entry.skipped}", markup=False)
        elif not all(warm_up.steady for warm_up in entry.warmed.values()):
            console.print(f"{entry.model}: its times were not steady when the warm-up ended")
    write_record(given.out, record)


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundles", type=Path, required=True, help="a folder with a bundle for each network")
    parser.add_argument("--backend", choices=[*runtimes(), FASTEST], default=FASTEST if find_gpu() else "onnxruntime")
    parser.add_argument(
        "--precision", choices=["fp32", "fp16", "int8"], default="fp32", help="not with --backend fastest"
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=10, help="maximum runs per round")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="CPU threads (default: all cores)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/paper-table.json"))
    return parser.parse_args()


def _export(model: str, folder: Path) -> Bundle:
    if not folder.is_dir():
        export_bundle(ExportOptions(model=model, out=folder, random_weights=True), new_progress())
    return Bundle.open(folder)


def _fastest(bundles: dict[str, Bundle], given: Any) -> Pair:
    """Finds the pair with the lowest time for ResNet-50 at the end of a warm-up, each alone on the machine."""
    if find_gpu():
        for bundle in bundles.values():
            for flavor in installed_flavors():
                options = EngineOptions(profiles=(Profile(given.batch, given.batch, given.batch),))
                build = BuildOptions(precision=Precision.FP16, engine=options, flavor=flavor)
                with contextlib.suppress(DeployError):  # without a plan it is not a candidate
                    build_engine(bundle, build, new_progress())
    times: dict[Pair, float] = {}
    for backend, precision in known_pairs():
        if all(examine(bundle, backend, precision).skipped is None for bundle in bundles.values()):
            with (
                contextlib.suppress(DeployError),
                Worker(_config(bundles[BASELINE], (backend, precision), given.threads)) as one,
            ):
                times[backend, precision] = one.warm_up(given.batch, *WARM_UP_S)[1]
                new_progress().note(f"{find_runtime(backend).title} {precision}: {times[backend, precision]:.2f} ms")
    if not times:
        raise DeployError("no candidate can run all five networks here: name one with --backend to see why")
    return min(times, key=lambda pair: times[pair])


def _measure(bundles: dict[str, Bundle], pair: Pair, settings: Settings) -> list[NetworkRow]:
    entries = []
    with contextlib.ExitStack() as stack:
        backend, precision = pair
        for model, bundle in bundles.items():
            found = examine(bundle, backend, precision)
            entry = NetworkRow(backend=backend, precision=precision, found=found, skipped=found.skipped, model=model)
            entries.append(entry)
            if found.skipped is None:
                start(entry, stack, _config(bundle, pair, settings.threads))
        time_rounds([*entries], settings, new_progress())
        for entry in entries:
            if entry.worker is not None:
                entry.peak_rss_bytes = entry.worker.peak_rss_bytes()
    return entries


def _config(bundle: Bundle, pair: Pair, threads: int) -> WorkerConfig:
    return WorkerConfig(
        folder=str(bundle.folder),
        backend=pair[0],
        precision=pair[1],
        threads=threads,
        data=str(bundle.folder.with_name(IMAGES)),
        limit=None,
        max_corrupt=0,
        accuracy_batch=1,
    )


def _record(entry: NetworkRow, baseline: NetworkRow, cost: Cost) -> dict[str, Any]:
    """Raw times and what is computed from them, or the reason why the network was not measured."""
    base = {"model": entry.model, **dataclasses.asdict(cost), "paper_ms": PAPER_MS[entry.model]}
    if entry.skipped is not None:
        return {**base, "skipped": entry.skipped}
    (batch,) = entry.rounds
    latency = entry.latency(batch)
    ratio = None
    if entry is not baseline and baseline.skipped is None:
        ratio = paired_ratio(latency.rounds_ms, baseline.latency(batch).rounds_ms)
    return {
        **base,
        "onnx_sha256": entry.found.artifact.sha256 if entry.found.artifact else None,
        "peak_rss_bytes": entry.peak_rss_bytes,
        "summary": dataclasses.asdict(summarize(latency)),
        "ratio": ratio and dataclasses.asdict(ratio),
        "latency": dataclasses.asdict(latency),
    }


def _table(record: dict[str, Any]) -> Table:
    settings, machine = record["settings"], record["machine"]
    device = machine["gpu"]["name"] if machine["gpu"] else f"{machine['cpu']}, {settings['threads']} threads"
    table = make_table(
        "network", "parameters", "GMAC", "min ms", "median ms", "ratio", "paper ms", "paper ratio",
        title=f"{record['candidate']} on {device}, batch {settings['batches'][0]}, {settings['rounds']} rounds",
        caption=f"ratio: time over {BASELINE}'s, with a 95 % interval; the paper's: {record['paper']}, batch 16",
    )  # fmt: skip
    for one in record["networks"]:
        times = ("", "", "") if "skipped" in one else (*_times(one), _ratio(one))
        table.add_row(
            one["model"], f"{one['parameters'] / 1e6:.2f} M", f"{one['macs'] / 1e9:.2f}", *times,
            str(one["paper_ms"]), f"{one['paper_ms'] / PAPER_MS[BASELINE]:.2f}",
        )  # fmt: skip
    return table


def _times(one: dict[str, Any]) -> tuple[str, str]:
    return f"{one['summary']['min_ms']:.1f}", f"{one['summary']['median_ms']:.1f}"


def _ratio(one: dict[str, Any]) -> str:
    if one["model"] == BASELINE:
        return "1"
    if one["ratio"] is None:
        return "too few rounds"
    ratio = Ratio(**one["ratio"])
    return f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


if __name__ == "__main__":
    main()
