"""Runs the whole pipeline for every listed network with random weights and prints one table.

    python -m benchmarks.steps.networks [--models NAME ...] [--out benchmarks/results/NAME.json] [--again]

For each network the program counts parameters and MACs and compares them with published figures; exports, which checks
the fp32 and fp16 graphs against PyTorch; calibrates on a few digits, which writes both int8 graphs; lints them; and
builds fp16 and int8 plans with TensorRT-RTX, which proves each layer's precision. Each network has its own process, and
its row is written when it is done: run again, the program goes on with what is missing, failed or was made with other
versions. A network that fails becomes a row with the error, and the exit code is 1. Random weights say nothing about
accuracy; the cosine of int8 with fp32 is there because a wrong graph would have a low one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.output import start_record, write_record
from benchmarks.steps.networks_table import print_networks
from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.data.preprocess import Batches, normalize
from wrn_deploy.engines.options import EngineOptions, Profile
from wrn_deploy.errors import DeployError
from wrn_deploy.models import describe_model, listed_models
from wrn_deploy.models.published import Quantity, read_published
from wrn_deploy.pipeline.engines.build import BuildOptions, build_engine
from wrn_deploy.pipeline.networks.export import ExportOptions, export_bundle
from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions, calibrate_bundle
from wrn_deploy.pipeline.quantization.lint import lint_file
from wrn_deploy.pipeline.quantization.quantize import Quantization, Rounding
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Silent
from wrn_deploy.runtime.sessions import infer_with, open_session
from wrn_deploy.spec import ModelSpec, Precision

PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "tensorrt-rtx-cu13")
CALIBRATION = CalibrateOptions(data="digits", size=8, quantization=Quantization(rounding=Rounding.NEAREST))
BATCHES = Profile(1, 2, 8)
CHECKED = 8  # images that the int8 graphs are compared with fp32 on
INT8_GRAPHS = ("onnx-int8-tensorrt", "onnx-int8-onnxruntime")

Row = dict[str, Any]


def main() -> None:
    """Measures what is missing, prints the table last, and exits with 1 where a network failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", help="(default: all that are listed)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/networks.json"))
    parser.add_argument("--again", action="store_true", help="measure again what is there")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        sys.stdout.write(json.dumps(_measure(given.one)))
        return
    names = given.models or sorted(listed_models(), key=_cost)
    rows = {} if given.again else _done(given.out)
    for at, name in enumerate(names, 1):
        if name in rows:
            continue
        start = time.perf_counter()
        rows[name] = {"network": name, **_measured(name), "wall_s": round(time.perf_counter() - start, 1)}
        _write(given.out, [rows[one] for one in names if one in rows])
        outcome = rows[name].get("error") or f"{rows[name]['wall_s']:.0f} s"
        sys.stderr.write(f"{at} of {len(names)}: {name}: {outcome}\n")
    found = [rows[name] for name in names]
    print_networks(found)
    sys.exit(any("error" in row for row in found))


def _cost(name: str) -> int:
    from wrn_deploy.models.cost import count_cost

    return count_cost(describe_model(name)).macs


def _done(file: Path) -> dict[str, Row]:
    """Reads the rows that are complete and were made with these versions."""
    record = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if record.get("versions") != start_record("networks", *PACKAGES)["versions"]:
        return {}
    return {row["network"]: row for row in record["networks"] if "error" not in row}


def _measured(name: str) -> Row:
    """Makes the row of one network in another process; a row with the error if it fails."""
    command = [sys.executable, "-m", "benchmarks.steps.networks", "--one", name]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode != 0:
        lines = child.stderr.strip().splitlines() or [f"ended with {child.returncode}"]
        return {"error": lines[-1]}
    row: Row = json.loads(child.stdout)
    return row


def _measure(name: str) -> Row:
    with scratch_folder() as folder:
        started = time.perf_counter()
        bundle = export_bundle(ExportOptions(model=name, out=folder / "bundle", random_weights=True), Silent())
        exported = time.perf_counter()
        calibrate_bundle(bundle, CALIBRATION, Silent())
        calibrated = time.perf_counter()
        bundle = Bundle.open(bundle.folder)
        plans = {precision: _plan(bundle, precision) for precision in (Precision.FP16, Precision.INT8)}
        built = time.perf_counter()
        return {
            **_counts(bundle.spec),
            "parity": {precision: _parity(bundle, precision) for precision in ("fp32", "fp16")},
            "int8": _int8(bundle),
            "plans": plans,
            "seconds": {
                "export": round(exported - started, 1),
                "calibrate": round(calibrated - exported, 1),
                "build": round(built - calibrated, 1),
            },
        }


def _counts(spec: ModelSpec) -> Row:
    """Counts the network, and finds the most exact published figures."""
    from wrn_deploy.models.cost import count_cost

    cost, published = count_cost(spec), read_published().get(spec.name)
    counts = {} if published is None else {one: published.exact(one) for one in Quantity}
    return {
        "family": spec.family,
        "input": list(spec.input.shape),
        "parameters": cost.parameters,
        "macs": cost.macs,
        "published": {one: dataclasses.asdict(count) for one, count in counts.items() if count is not None},
    }


def _parity(bundle: Bundle, precision: str) -> Row:
    records = bundle.artifacts[f"onnx-{precision}"].facts["parity"]
    return {
        "cosine": min(record["cosine"] for record in records),
        "error": max(record["max_abs"] / record["largest_logit"] for record in records),
    }


def _int8(bundle: Bundle) -> Row:
    """Counts Convs in int8 and in float, lints, and finds the minimum cosine of the logits with fp32's."""
    pixels = next(iter(Batches(open_data("digits", Role.TEST), _resized(bundle.spec), CHECKED))).images
    images = normalize(pixels, bundle.spec.preprocessing)
    wanted = infer_with(open_session(bundle.file(bundle.artifacts["onnx-fp32"])))(images)
    row = {}
    for key in INT8_GRAPHS:
        file = bundle.file(bundle.artifacts[key])
        found = infer_with(open_session(file, fuses_qdq=not key.endswith("-tensorrt")))(images)
        report = lint_file(file, None)
        row[key] = {
            "int8_convs": report.int8_convs,
            "float_convs": report.float_convs,
            "lint": [one.rule.id for one in report.findings if one.rule.severity != "note"],
            "cosine": _min_cosine(wanted, found),
        }
    return row


def _min_cosine(wanted: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> float:
    lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(found, axis=1)
    return float(((wanted * found).sum(axis=1) / np.maximum(lengths, 1e-30)).min())


def _resized(spec: ModelSpec) -> Any:
    preprocessing = spec.preprocessing
    return dataclasses.replace(preprocessing, resize=preprocessing.resize or preprocessing.height)


def _plan(bundle: Bundle, precision: Precision) -> Row:
    artifact = build_engine(
        bundle, BuildOptions(precision=precision, engine=EngineOptions(profiles=(BATCHES,))), Silent()
    )
    proof = artifact.facts["precision"]
    return {
        "flavor": artifact.facts["flavor"],
        "share": proof["shares"].get(precision.value, 0.0),
        "higher_precision": proof["higher_precision"],
        "unknown": proof["unknown"],
        "layers": proof["layers"],
        "reformats": proof["reformats"],
        "size_bytes": artifact.size_bytes,
        "seconds": artifact.facts["seconds"],
    }


def _write(out: Path, rows: list[Row]) -> None:
    record = {
        **start_record("networks", *PACKAGES),
        "calibration": f"{CALIBRATION.size} embedded digits, {CALIBRATION.method}, weights rounded to the nearest",
        "networks": rows,
    }
    write_record(out, record)


if __name__ == "__main__":
    try:
        main()
    except DeployError as error:
        sys.exit(f"{type(error).__name__}: {error}")
