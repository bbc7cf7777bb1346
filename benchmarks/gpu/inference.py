r"""Measures networks on this GPU: PyTorch, ONNX Runtime, TensorRT-RTX and TensorRT, beside the roofline of an H200.

    python -m benchmarks.gpu.inference [--models wrn-50-2 wrn-101-2 wrn-28-10] [--batches 1 16 64 256] \
        [--precisions fp16 bf16] [--candidates TEXT ...] [--rounds 5] [--out FILE] [--dry-run]

Weights and images are random: only time is measured. Each candidate's logits are compared with those of ONNX Runtime
in fp32 on the CPU. Before that, the program tries for each target whether a TensorRT-RTX plan runs on this GPU.

For each network and batch size all candidates are opened and take turns, round by round. In a round each candidate
runs one inference at a time, on the host's clock until the device is done, and then many without waiting, between two
CUDA events on its own stream. The table shows minimum and median; a candidate that fails has a row with the reason.

`--dry-run` does what needs no GPU, on a small network. Without it and without a GPU the program ends with code 4.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.gpu.candidates import CANDIDATES, Candidate, Opened, device_ms, probe_images
from benchmarks.gpu.prepare import build_plans, require_gpu
from benchmarks.gpu.roofline import H200, kernels_of, roofline_s
from benchmarks.output import make_table, start_record, write_record
from wrn_deploy.bundle import Bundle
from wrn_deploy.engines.options import EngineOptions, Profile
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Silent
from wrn_deploy.runtime.backend import open_backend
from wrn_deploy.spec import Precision

PACKAGES = (
    "torch", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx", "tensorrt_rtx_cu13", "pycuda",
    "cuda-bindings", "numpy",
)  # fmt: skip
TARGETS = ("none", "SM80", "CURRENT")
SMALL = "wrn-10-1"
SECONDS = 0.3  # of each way of measuring, for a candidate in a round
TIMEOUT_S = 600  # of the process that tries a target


@dataclasses.dataclass(slots=True, kw_only=True)
class Row:
    """A candidate at a batch size: ms of each run by the host's clock, ms of a run by CUDA events per round."""

    model: str
    batch: int
    candidate: str
    precision: str
    roofline_ms: float
    error: str = ""
    note: str = ""
    cosine: float | None = None
    host_ms: list[float] = dataclasses.field(default_factory=list)
    device_ms: list[float] = dataclasses.field(default_factory=list)


def main() -> None:
    """Measures, writes the raw numbers after each batch, and prints the table last."""
    given = _arguments()
    require_gpu(dry_run=given.dry_run)
    record = {
        **start_record("gpu", *PACKAGES),
        "dry_run": given.dry_run,
        "limits": dataclasses.asdict(H200),
        "targets": [],
        "builds": [],
        "rows": [],
    }
    console = Console(width=150)
    with scratch_folder() as work:
        small = _export(SMALL, work)
        record["targets"] = [_try_target(small, target) for target in TARGETS]
        for tried in record["targets"]:
            console.print(f"TensorRT-RTX plan for target {tried['target']}: {_outcome(tried)}", markup=False)
        given.rtx_obstacle = None if record["targets"][0].get("ran") else _outcome(record["targets"][0])
        for model in given.models:
            bundle = small if model == SMALL else _export(model, work)
            record["builds"] += _build(bundle, given)
            for batch in given.batches:
                record["rows"] += [dataclasses.asdict(row) for row in _measure(bundle, batch, given)]
                write_record(given.out, record)
    for failure in record["builds"]:
        console.print(failure, markup=False)
    console.print(_table([Row(**row) for row in record["rows"]]))


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--batches", nargs="+", type=int)
    parser.add_argument(
        "--precisions", nargs="+", default=["fp16", "bf16"], help="int8 is calibrated first, which takes long"
    )
    parser.add_argument("--candidates", nargs="+", default=[""], help="only names that contain one of these texts")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/gpu.json"))
    given = parser.parse_args()
    given.models = given.models or ([SMALL] if given.dry_run else ["wrn-50-2", "wrn-101-2", "wrn-28-10"])
    given.batches = given.batches or ([1, 4] if given.dry_run else [1, 16, 64, 256])
    return given


def _export(model: str, work: Path) -> Bundle:
    return export_bundle(ExportOptions(model=model, out=work / model, random_weights=True), Silent())


def _try_target(bundle: Bundle, target: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.gpu.candidates", str(bundle.folder), target]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    with contextlib.suppress(ValueError, IndexError):
        tried: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return tried
    return {"target": target, "error": f"the process ended with {done.returncode}: {done.stderr.strip()[-400:]}"}


def _outcome(tried: dict[str, Any]) -> str:
    steps = " and ".join(step for step in ("built", "opened", "ran") if tried.get(step)) or "not built"
    cosine = f", cosine {tried['cosine']:.5f}" if "cosine" in tried else ""
    return f"{steps}{cosine}; {tried.get('error', 'no error')}"


def _build(bundle: Bundle, given: argparse.Namespace) -> list[str]:
    """Builds plans with a profile for each batch size; returns what could not be built."""
    options = EngineOptions(profiles=tuple(Profile(batch, batch, batch) for batch in given.batches))
    wanted = [precision for precision in (Precision.FP16, Precision.INT8) if precision in given.precisions]
    if Precision.INT8 in wanted:
        calibrate_bundle(bundle, CalibrateOptions(data="digits", size=16), Silent())
    return build_plans(bundle, wanted, options, Silent())


def _measure(bundle: Bundle, batch: int, given: argparse.Namespace) -> list[Row]:
    """Times all candidates at one batch size, in turns."""
    kernels, images = kernels_of(bundle.file(bundle.artifacts["onnx-fp32"]), batch), probe_images(bundle, batch)
    reference = _reference_logits(bundle, images[:1])
    rows = []
    with contextlib.ExitStack() as stack:
        running: list[tuple[Row, Opened]] = []
        for candidate in CANDIDATES:
            if candidate.precision not in given.precisions or not any(t in candidate.name for t in given.candidates):
                continue
            row = Row(
                model=bundle.spec.name,
                batch=batch,
                candidate=candidate.name,
                precision=candidate.precision,
                roofline_ms=1000 * roofline_s(kernels, H200, 1 if candidate.precision is Precision.INT8 else 2),
            )
            rows.append(row)
            if candidate.name.startswith("TensorRT-RTX") and given.rtx_obstacle:  # it could end this process
                row.error = f"its plans do not run here: {given.rtx_obstacle}"
                continue
            opened = _try_open(candidate, bundle, images, row, stack)
            if opened is not None:
                answer = opened.answer()[0].astype(np.float32)
                row.cosine = float(answer @ reference / np.linalg.norm(answer) / np.linalg.norm(reference))
                running.append((row, opened))
        for _ in range(given.rounds):
            for row, opened in running:
                try:
                    _one_round(row, opened)
                except Exception as error:  # noqa: BLE001 (any failure is a row)
                    row.error = f"{type(error).__name__}: {error}"
    return rows


def _try_open(
    candidate: Candidate, bundle: Bundle, images: Any, row: Row, stack: contextlib.ExitStack
) -> Opened | None:
    """Opens a candidate and runs it three times; an error goes into its row."""
    try:
        opened = stack.enter_context(candidate.open_on(bundle, images))
        for _ in range(3):
            opened.start()
        opened.wait()
    except Exception as error:  # noqa: BLE001 (any failure is a row)
        row.error = f"{type(error).__name__}: {error}"
        return None
    row.note = opened.note
    return opened


def _one_round(row: Row, opened: Opened) -> None:
    opened.start()  # warms up caches and clocks after the other candidates
    opened.wait()
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(row.host_ms) < 3:
        start = time.perf_counter_ns()
        opened.start()
        opened.wait()
        row.host_ms.append((time.perf_counter_ns() - start) / 1e6)
    if opened.stream is not None:
        row.device_ms.append(device_ms(opened, max(3, round(1000 * SECONDS / min(row.host_ms)))))


def _reference_logits(bundle: Bundle, images: Any) -> Any:
    with open_backend(bundle, backend="onnxruntime", precision=Precision.FP32) as backend:
        backend.upload(images)
        backend.execute()
        return backend.download()[0][0]


def _table(rows: list[Row]) -> Table:
    table = make_table(
        "model", "batch", "candidate", "host", "device", "images/s", "roofline", "%", "cosine", "note",
        left=("candidate", "note"),
        caption=f"ms, minimum / median; roofline of an {H200.name}, % of it by the best time",
    )  # fmt: skip
    for row in rows:
        times = [
            f"{min(each):.3f} / {statistics.median(each):.3f}" if each else "" for each in (row.host_ms, row.device_ms)
        ]
        best = min([*row.host_ms, *row.device_ms], default=0.0)
        speed = (f"{1000 * row.batch / best:.0f}", f"{100 * row.roofline_ms / best:.1f}") if best else ("", "")
        cosine = "" if row.cosine is None else f"{row.cosine:.4f}"
        table.add_row(
            row.model, str(row.batch), f"{row.candidate} {row.precision}", *times,
            speed[0], f"{row.roofline_ms:.4f}", speed[1], cosine,
            row.error.replace("[", r"\[") or row.note,
        )  # fmt: skip
    return table


if __name__ == "__main__":
    main()
