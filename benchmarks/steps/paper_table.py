"""Measures the table of the WRN paper anew: five ImageNet networks at batch 16, and their time over ResNet-50's.

    python -m benchmarks.steps.paper_table --bundles FOLDER [--batch 16] [--rounds 20] [--backend torch] [--out FILE]

The table is that of Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016: ms for a batch of 16 images on the
authors' machine. Here it is inference, on another one: what can be compared is the ratio to ResNet-50.

The bundles are exported with random weights where the folder does not have them: times do not depend on the values.
Each network has a process of its own; they are measured in turns, as `wrn-deploy bench` measures contenders, and the
ratios are its paired ones. On a CPU the runtime is ONNX Runtime in fp32 unless another is named, on a GPU `fastest`:
fp16 plans are built for each TensorRT that is installed, and of all contenders that have what they need in every
bundle, the one with the least time for ResNet-50 after a warm-up is taken.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.compact_json import to_compact_json
from wrn_deploy import __version__
from wrn_deploy.backend import contenders, examine, title_of
from wrn_deploy.bench.measuring.isolate import Worker
from wrn_deploy.bench.measuring.worker import Work
from wrn_deploy.bench.report.ratios import Ratio, paired_ratio
from wrn_deploy.bench.report.report import Boundary, Settings, summarize
from wrn_deploy.bundle import Bundle
from wrn_deploy.cli.commands.app import new_progress
from wrn_deploy.engines.flavor import installed_flavors
from wrn_deploy.engines.options import EngineOptions, Profile
from wrn_deploy.errors import DeployError
from wrn_deploy.machine import describe_machine, find_gpu, package_versions, usable_cores
from wrn_deploy.models import describe_model
from wrn_deploy.models.cost import Cost, count_cost
from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
from wrn_deploy.pipeline.measuring.rounds import WARM_UP_S, Entry, start, time_rounds
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.spec import Precision

BASELINE = "resnet-50"
# The paper's ms at batch 16, by this project's names.
PAPER_MS = {BASELINE: 49, "resnet-101": 82, "resnet-152": 115, "wrn-50-2": 93, "preresnet-200": 154}
SECONDS = 30.0  # of a network's turns together; a turn has one run at least
FASTEST = "fastest"
IMAGES, SIDE = "noise.npz", 256  # what is classified: the values do not matter


@dataclasses.dataclass(slots=True)
class Measured(Entry):
    """A network on its way through the contest; `name` keeps those of one runtime apart."""

    model: str = ""

    @property
    def name(self) -> str:
        """The network's."""
        return self.model


def main() -> None:
    """Exports what is missing, measures, prints the table, and writes the raw numbers."""
    given = _arguments()
    given.bundles.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (given.batch, SIDE, SIDE, 3), np.uint8)
    np.savez(given.bundles / IMAGES, images=noise)
    bundles = {model: _export(model, given.bundles / model) for model in PAPER_MS}
    backend, precision = given.backend, Precision(given.precision)
    if backend == FASTEST:
        backend, precision = _fastest(bundles, given)
    settings = Settings((given.batch,), given.rounds, SECONDS, given.iterations, given.threads, 1, Boundary.COMPUTE)
    machine = describe_machine()
    entries = _measure(bundles, (backend, precision), settings)
    if all(entry.skipped for entry in entries):
        raise SystemExit(f"nothing was measured: {entries[0].skipped}")
    costs = {entry.model: count_cost(describe_model(entry.model)) for entry in entries}
    record = {
        "benchmark": "paper table",
        "paper": "Zagoruyko and Komodakis, Wide Residual Networks, BMVC 2016",
        "contender": f"{title_of(backend)} {precision}",
        "machine": dataclasses.asdict(machine),
        "versions": {"wrn-deploy": __version__, **package_versions("onnxruntime", "onnxruntime-gpu", "torch", "numpy")},
        "settings": dataclasses.asdict(settings),
        "networks": [_record(entry, entries[0], costs[entry.model]) for entry in entries],
    }
    console = Console(width=130)
    console.print(_table(record))
    for entry in entries:
        if entry.skipped is not None:
            console.print(f"{entry.model} was not measured: {entry.skipped}", markup=False)
        elif not all(warm_up.steady for warm_up in entry.warmed.values()):
            console.print(f"{entry.model}: its warm-up ended before its times were level")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(to_compact_json(record) + "\n", encoding="utf-8")


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = sorted({backend for backend, _ in contenders()})
    parser.add_argument("--bundles", type=Path, required=True, help="a folder with a bundle for each network")
    parser.add_argument("--backend", choices=[*known, FASTEST], default=FASTEST if find_gpu() else "onnxruntime")
    parser.add_argument("--precision", choices=["fp32", "fp16", "int8"], default="fp32", help="not with fastest")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=10, help="the most runs in a turn")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of the CPU (all cores)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/paper-table.json"))
    return parser.parse_args()


def _export(model: str, folder: Path) -> Bundle:
    if not folder.is_dir():
        export_bundle(ExportOptions(model, folder, random_weights=True), new_progress())
    return Bundle.open(folder)


def _fastest(bundles: dict[str, Bundle], given: Any) -> tuple[str, Precision]:
    """The contender with the least time of ResNet-50 at the end of a warm-up, each alone on the machine."""
    if find_gpu():
        for bundle in bundles.values():
            for flavor in installed_flavors():
                options = EngineOptions((Profile(given.batch, given.batch, given.batch),))
                with contextlib.suppress(DeployError):  # without a plan, it is no contender
                    build_engine(bundle, BuildOptions(Precision.FP16, options, flavor), new_progress())
    times: dict[tuple[str, Precision], float] = {}
    for backend, precision in contenders():
        if all(examine(bundle, backend, precision).skipped is None for bundle in bundles.values()):
            with (
                contextlib.suppress(DeployError),
                Worker(_work(bundles[BASELINE], (backend, precision), given.threads)) as one,
            ):
                times[backend, precision] = one.warm_up(given.batch, *WARM_UP_S)[1]
                new_progress().note(f"{title_of(backend)} {precision}: {times[backend, precision]:.2f} ms")
    if not times:
        raise DeployError("no contender can run all five networks here: name one with --backend, which tells why")
    return min(times, key=lambda contender: times[contender])


def _measure(bundles: dict[str, Bundle], contender: tuple[str, Precision], settings: Settings) -> list[Measured]:
    entries = []
    with contextlib.ExitStack() as stack:
        for model, bundle in bundles.items():
            found = examine(bundle, *contender)
            entries.append(Measured(*contender, found, found.skipped, model=model))
            if found.skipped is None:
                start(entries[-1], stack, _work(bundle, contender, settings.threads))
        time_rounds([*entries], settings, new_progress())
        for entry in entries:
            if entry.worker is not None:
                entry.peak_rss_bytes = entry.worker.peak_rss_bytes()
    return entries


def _work(bundle: Bundle, contender: tuple[str, Precision], threads: int) -> Work:
    return Work(str(bundle.folder), *contender, threads, str(bundle.folder.with_name(IMAGES)), None, 0, 1)


def _record(entry: Measured, baseline: Measured, cost: Cost) -> dict[str, Any]:
    """Raw times, and what is computed from them; a network that failed has its reason instead."""
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
    table = Table(
        box=SIMPLE_HEAD,
        title=f"{record['contender']} on {device}, batch {settings['batches'][0]}, {settings['rounds']} rounds",
        caption=f"ratio: time over {BASELINE}'s, with a 95 % interval; the paper's: {record['paper']}, batch 16",
    )
    for header in ("network", "parameters", "GMAC", "min ms", "median ms", "ratio", "paper ms", "paper ratio"):
        table.add_column(header, justify="left" if header == "network" else "right")
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
