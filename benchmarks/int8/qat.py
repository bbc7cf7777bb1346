r"""Measures how much accuracy `wrn-deploy finetune` gives back to int8 graphs, good ones and poor ones.

    python -m benchmarks.int8.qat --checkpoint wrn-16-2=FILE --train train.npz --data test.parquet [--data other.npz] \
        [--row "max, weights per tensor"] [--steps N] [--target tensorrt] [--out FILE.json]

Each row is a calibration (`ROWS`) on the first images of `--train`; "collapsed" rows first damage the checkpoint as
`tests/calib/collapse.py` describes. The graph is then fine-tuned on `--train` with fp32's answers instead of labels.
ONNX Runtime on the CPU answers all images of `--data`, none of which training has seen, with the graph before and the
graph after. Agreement compares the argmax with fp32's. The interval of a difference is that of paired answers: only
images whose answer became right or wrong count, twice the square root of their number (McNemar 1947).

`--work` keeps the bundles, so that an interrupted run can go on: what is up to date is not made again.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.int8.measure import Images, Logits, logits_of, read_images
from benchmarks.output import make_table, start_record, write_record
from tests.calib.collapse import LOUD, NEAR_DEAD, Damage, write_collapsed
from wrn_deploy.calib.lint.finding import Target
from wrn_deploy.pipeline.finetuning.finetune import FinetuneOptions, Schedule, finetune_bundle
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.quantization.quantize import Quantization, Rounding, WeightScales
from wrn_deploy.pipeline.quantization.state import BEFORE
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Silent

PACKAGES = ("onnx", "onnx-ir", "onnxruntime", "torch", "numpy")
PLAIN = Quantization(exact_input=False, rounding=Rounding.NEAREST)
PER_TENSOR = dataclasses.replace(PLAIN, weights=WeightScales.TENSOR)
COLLAPSED_RATE = 0.1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One calibration, the damage done to the checkpoint before it, and the learning rate of the fine-tuning."""

    method: str = "mse"
    equalize: bool = True
    quantization: Quantization = dataclasses.field(default_factory=Quantization)
    percentile: float = 99.99
    damage: Damage | None = None
    rate: float = Schedule().rate


def _collapsed(damage: Damage) -> Row:
    return Row(method="percentile", equalize=False, quantization=PLAIN, damage=damage, rate=COLLAPSED_RATE)


ROWS: Mapping[str, Row] = {
    "max, weights per tensor": Row(method="max", equalize=False, quantization=PER_TENSOR),
    "percentile 99.9": Row(method="percentile", equalize=False, quantization=PLAIN, percentile=99.9),
    "default": Row(),
    "collapsed, loud": _collapsed(LOUD),
    "collapsed, near dead": _collapsed(NEAR_DEAD),
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
    parser.add_argument("--limit", type=int, help="use the first N images of each data set", metavar="N")
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
        bundle = export_bundle(ExportOptions(model=model, out=folder, weights=weights), Silent())
        calibration = CalibrateOptions(
            data=given.train,
            size=given.calib_size,
            method=row.method,
            percentile=row.percentile,
            equalize=row.equalize,
            quantization=row.quantization,
            threads=given.threads,
        )
        calibrate_bundle(bundle, calibration, Silent())
        schedule = Schedule(steps=given.steps, rate=row.rate)
        targets = tuple(given.target or (Target.TENSORRT,))
        options = FinetuneOptions(data=given.train, schedule=schedule, targets=targets, threads=given.threads)
        found = finetune_bundle(bundle, options, Silent())
        rows = []
        images = [read_images(data, bundle.spec, given.limit) for data in given.data]
        reference = [_logits(bundle.folder / "fp32.onnx", one, given.threads) for one in images]
        for graph in found.graphs:
            after = bundle.file(bundle.artifacts[graph.key])
            before = bundle.file(bundle.artifacts[BEFORE[graph.key]]) if graph.kept is not None else after
            scores = {
                one.name: _compare(one, wanted, {"before": before, "after": after}, given.threads)
                for one, wanted in zip(images, reference, strict=True)
            }
            about = {"model": model, "row": name, "graph": graph.key, "kept": graph.kept, "rate": row.rate}
            rows.append({**about, "held_out": dataclasses.asdict(graph), "data": scores})
            sys.stderr.write(f"{_describe(rows[-1])}\n")
        return rows


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with scratch_folder() as folder:
        yield folder


def _logits(graph: Path, images: Images, threads: int) -> Logits:
    return logits_of(graph, images, threads, fuses_qdq="tensorrt" not in graph.name)


def _compare(images: Images, wanted: Logits, graphs: Mapping[str, Path], threads: int) -> dict[str, Any]:
    """Counts the right answers of both graphs, and the images whose answer became right or wrong."""
    found: dict[str, Any] = {"images": len(images.labels), "fp32": int((wanted.argmax(1) == images.labels).sum())}
    logits = {name: _logits(graph, images, threads) for name, graph in graphs.items()}
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
        **start_record("qat", *PACKAGES),
        "train": {"data": Path(given.train).name, "calibrated_on": given.calib_size},
        "schedule": {name: value for name, value in schedule.items() if name != "rate"},
        "limit": given.limit,
        "rows": results,
    }
    write_record(given.out, record)


def _change(score: Mapping[str, int], images: int) -> str:
    """Percentage points gained, and two standard errors."""
    gained, lost = score["gained"], score["lost"]
    return f"{100 * (gained - lost) / images:+.2f} ± {200 * math.sqrt(gained + lost) / images:.2f}"


def _describe(row: Mapping[str, Any]) -> str:
    parts = [f"{row['model']}, {row['row']}, {row['graph']}"]
    for name, score in row["data"].items():
        parts.append(f"{name}: as fp32 {_change(score['same'], score['images'])}")
    return "; ".join(parts)


def _print(results: list[dict[str, Any]]) -> None:
    headers = ("as fp32, %", "change", "top-1, %", "change", "fp32's")
    table = make_table("network", "calibration", "graph", "data", *headers, left=("calibration", "graph", "data"))
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
