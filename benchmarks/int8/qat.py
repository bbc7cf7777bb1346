r"""Measures what `wrn-deploy finetune` gives int8 graphs that lose accuracy, and those that lose next to none.

    python -m benchmarks.int8.qat --checkpoint wrn-16-2=FILE --train train.npz --data test.parquet [--data other.npz] \
        [--row "max, weights per tensor"] [--steps N] [--target tensorrt] [--out FILE.json]

Each row is a calibration (`ROWS`), on the first images of `--train`; "collapsed" rows do to the checkpoint what
`tests/calib/collapse.py` describes first. The graph is then fine-tuned on `--train` with fp32's answers, labels aside.
ONNX Runtime on the CPU answers all images of `--data`, which training has seen none of, with the graph of before and
with that of after. Agreement is that of the argmax with fp32. The interval of a difference is that of paired answers:
only images whose answer became right or wrong count, twice the root of their number (McNemar 1947).

With `--work` the bundles are kept, and a run that was cut short goes on: what is up to date there is not made again.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.compact_json import to_compact_json
from benchmarks.int8.measure import BATCH, Images, Logits, read_images
from tests.calib.collapse import LOUD, NEAR_DEAD, Damage, write_collapsed
from wrn_deploy import __version__
from wrn_deploy.calib.lint.finding import Target
from wrn_deploy.machine import describe_machine, package_versions
from wrn_deploy.pipeline.finetuning.finetune import FinetuneOptions, Schedule, finetune_bundle
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.quantization.quantize import Quantization, Rounding, WeightScales
from wrn_deploy.pipeline.quantization.state import BEFORE
from wrn_deploy.progress import Silent
from wrn_deploy.sessions import infer_with, open_session

PACKAGES = ("onnx", "onnx-ir", "onnxruntime", "torch", "numpy")
PLAIN = Quantization(exact_input=False, rounding=Rounding.NEAREST)
PER_TENSOR = dataclasses.replace(PLAIN, weights=WeightScales.TENSOR)
COLLAPSED_RATE = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One calibration, what is done to the checkpoint before it, and the rate of the fine-tuning."""

    method: str = "mse"
    equalize: bool = True
    how: Quantization = dataclasses.field(default_factory=Quantization)
    percentile: float = 99.99
    damage: Damage | None = None
    rate: float = Schedule().rate


ROWS: Mapping[str, Row] = {
    "max, weights per tensor": Row("max", equalize=False, how=PER_TENSOR),
    "percentile 99.9": Row("percentile", equalize=False, how=PLAIN, percentile=99.9),
    "as it comes": Row(),
    "collapsed, loud": Row("percentile", equalize=False, how=PLAIN, damage=LOUD, rate=COLLAPSED_RATE),
    "collapsed, near dead": Row("percentile", equalize=False, how=PLAIN, damage=NEAR_DEAD, rate=COLLAPSED_RATE),
}


def main() -> None:
    """Measures, writes the raw numbers after each row, and prints the table last."""
    given = _arguments()
    results: list[dict[str, Any]] = []
    for name, _, weights in (text.partition("=") for text in given.checkpoint):
        for row in given.row or ROWS:
            results += _measure(given, name, Path(weights), row)
            _write(given, results)
    _print(results)


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", action="append", required=True, metavar="MODEL=FILE", help="repeatable")
    parser.add_argument("--train", required=True, help="calibrated and trained on")
    parser.add_argument("--data", action="append", required=True, help="labelled images; repeatable")
    parser.add_argument("--row", action="append", choices=[*ROWS], help="repeatable; all if not given")
    parser.add_argument("--calib-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=Schedule().steps)
    parser.add_argument("--target", action="append", type=Target, choices=[*Target], help="repeatable")
    parser.add_argument("--limit", type=int, help="no more than so many images of each data set")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, help="a folder for the bundles; a temporary one if not given")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/qat.json"))
    return parser.parse_args()


def _measure(given: Any, model: str, weights: Path, name: str) -> list[dict[str, Any]]:
    row = ROWS[name]
    with _folder(given.work) as work:
        folder = work / f"{model}-{name.replace(',', '').replace(' ', '-')}"
        if row.damage is not None:
            weights = write_collapsed(model, weights, row.damage, work / "damaged.safetensors")
        bundle = export_bundle(ExportOptions(model, folder, weights), Silent())
        calibration = (given.train, given.calib_size, row.method, row.percentile, row.equalize, row.how)
        calibrate_bundle(bundle, CalibrateOptions(*calibration, threads=given.threads), Silent())
        schedule = Schedule(steps=given.steps, rate=row.rate)
        targets = tuple(given.target or (Target.TENSORRT,))
        options = FinetuneOptions(given.train, schedule=schedule, targets=targets, threads=given.threads)
        found = finetune_bundle(bundle, options, Silent())
        rows = []
        images = [read_images(data, bundle.spec, given.limit) for data in given.data]
        reference = [_logits(bundle.folder / "fp32.onnx", one, given.threads) for one in images]
        for graph in found.graphs:
            after = bundle.file(bundle.artifacts[graph.key])
            before = bundle.file(bundle.artifacts[BEFORE[graph.key]]) if graph.kept is not None else after
            scores = {
                one.name: _compare(one, wanted, (before, after), given.threads)
                for one, wanted in zip(images, reference, strict=True)
            }
            told = {"model": model, "row": name, "graph": graph.key, "kept": graph.kept, "rate": row.rate}
            rows.append({**told, "held_out": dataclasses.asdict(graph), "data": scores})
            sys.stderr.write(f"{_told(rows[-1])}\n")
        return rows


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="wrn-deploy-benchmark-") as name:
        yield Path(name)


def _logits(graph: Path, images: Images, threads: int) -> Logits:
    infer = infer_with(open_session(graph, threads, fuses_qdq="tensorrt" not in graph.name))
    starts = range(0, len(images.pixels), BATCH)
    return np.concatenate([infer(images.pixels[start : start + BATCH]) for start in starts])


def _compare(images: Images, wanted: Logits, graphs: tuple[Path, Path], threads: int) -> dict[str, Any]:
    """Counts of both graphs, and of the images whose answer became another kind of answer."""
    found: dict[str, Any] = {"images": len(images.labels), "fp32": int((wanted.argmax(1) == images.labels).sum())}
    logits = {name: _logits(graph, images, threads) for name, graph in zip(("before", "after"), graphs, strict=True)}
    kinds = {"correct": images.labels, "same": wanted.argmax(1)}
    for kind, right in kinds.items():
        hits = {name: one.argmax(1) == right for name, one in logits.items()}
        found[kind] = {
            **{name: int(hit.sum()) for name, hit in hits.items()},
            "gained": int((hits["after"] & ~hits["before"]).sum()),
            "lost": int((hits["before"] & ~hits["after"]).sum()),
        }
    found["logit_error"] = {name: float(np.mean((one - wanted) ** 2)) for name, one in logits.items()}
    return found


def _write(given: Any, results: list[dict[str, Any]]) -> None:
    schedule = dataclasses.asdict(Schedule(steps=given.steps))
    record = {
        "benchmark": "qat",
        "train": {"data": Path(given.train).name, "calibrated_on": given.calib_size},
        "schedule": {name: value for name, value in schedule.items() if name != "rate"},
        "limit": given.limit,
        "machine": dataclasses.asdict(describe_machine()),
        "versions": {"wrn-deploy": __version__, **package_versions(*PACKAGES)},
        "rows": results,
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(to_compact_json(json.loads(json.dumps(record))) + "\n", encoding="utf-8")


def _change(score: Mapping[str, int], images: int) -> str:
    """Points gained, and two standard errors."""
    gained, lost = score["gained"], score["lost"]
    return f"{100 * (gained - lost) / images:+.2f} ± {200 * math.sqrt(gained + lost) / images:.2f}"


def _told(row: Mapping[str, Any]) -> str:
    parts = [f"{row['model']}, {row['row']}, {row['graph']}"]
    for name, score in row["data"].items():
        parts.append(f"{name}: as fp32 {_change(score['same'], score['images'])}")
    return "; ".join(parts)


def _print(results: list[dict[str, Any]]) -> None:
    headers = ("as fp32, %", "change", "top-1, %", "change", "fp32's")
    table = Table("network", "calibration", "graph", "data", *headers, box=SIMPLE_HEAD)
    for row in results:
        for name, score in row["data"].items():
            images = score["images"]
            cells = []
            for kind in ("same", "correct"):
                before, after = (100 * score[kind][when] / images for when in ("before", "after"))
                cells += [f"{before:.2f} -> {after:.2f}", _change(score[kind], images)]
            graph = row["graph"].removeprefix("onnx-int8-")
            table.add_row(row["model"], row["row"], graph, name, *cells, f"{100 * score['fp32'] / images:.2f}")
    Console(width=170).print(table)


if __name__ == "__main__":
    main()
