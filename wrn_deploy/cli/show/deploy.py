"""Prints what `deploy` made: a dozen lines with sizes, accuracy, the gate and the next step."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from wrn_deploy.cli.show.tables import print_heading, print_json, print_line
from wrn_deploy.errors import GateError
from wrn_deploy.formatting import file_size, percent, signed
from wrn_deploy.spec import Precision

if TYPE_CHECKING:
    from wrn_deploy.bench.report.report import Report, Row
    from wrn_deploy.pipeline.deploy import Deployment

__all__ = ["show_deployment"]


def show_deployment(made: Deployment, *, as_json: bool) -> None:
    """Prints the summary, at most 12 lines; as JSON: the artifacts, the seconds of each step, and the report."""
    bundle = made.bundle
    if as_json:
        about = {"bundle": str(bundle.folder), "model": bundle.spec.name, "random_weights": bundle.random_weights}
        artifacts = [dataclasses.asdict(artifact) for artifact in bundle.artifacts.values()]
        report = None if made.report is None else json.loads(made.report.to_json())
        rest = {"not_built": made.not_built, "max_drop": made.max_drop, "seconds": made.seconds, "report": report}
        print_json({**about, "artifacts": artifacts, **rest})
        return
    heading = f"{bundle.spec.name} in {bundle.folder}, {sum(made.seconds.values()):.1f} s"
    print_heading(heading, random_weights=bundle.random_weights)
    for name, text in _lines(made):
        print_line(f"  {name:<10} {text}")


def _lines(made: Deployment) -> Iterator[tuple[str, str]]:
    bundle = made.bundle
    sizes = {key: file_size(bundle.artifacts[key].size_bytes) for key in ("onnx-fp32", "onnx-fp16")}
    yield "graphs", f"fp32 {sizes['onnx-fp32']}, fp16 {sizes['onnx-fp16']}; match PyTorch within the limits"
    calibration = bundle.artifacts["calibration"]
    images = f"{calibration.facts['images']} images of {calibration.recipe.options['data']}"
    size = file_size(bundle.artifacts["onnx-int8-tensorrt"].size_bytes)
    yield "int8", f"{size}; calibrated on {images}{_warned(len(calibration.facts['guards']))}"
    if made.plans:
        plans = (f"{plan.precision} {file_size(plan.size_bytes)}" for plan in made.plans)
        flavors = dict.fromkeys(f"{plan.facts['flavor']} {plan.facts['version']}" for plan in made.plans)
        yield "plans", f"{', '.join(plans)}; by {', '.join(flavors)}"
    if made.not_built:
        more = f" (and {len(made.not_built) - 1} more)" if len(made.not_built) > 1 else ""
        yield "not built", f"{made.not_built[0]}{more}"
    failed = _fails(made)
    if made.report is not None:
        yield from _accuracy(made.report)
        outcome = "FAILED" if failed else "passed"
        yield "gate", f"{outcome}: at most {made.max_drop:g} points of top-1 may be lost"
    yield "next", _next(made, failed=failed)


def _fails(made: Deployment) -> bool:
    from wrn_deploy.pipeline.deploy import check_deployment

    try:
        check_deployment(made)
    except GateError:
        return True
    return False


def _warned(count: int) -> str:
    return "" if not count else f"; {count} warning{'s' if count > 1 else ''} above"


def _accuracy(report: Report) -> Iterator[tuple[str, str]]:
    """Top-1 of fp32, and of the worst candidate of each other precision, which is what the gate judges."""
    worst: dict[Precision, Row] = {}
    for row in report.rows:
        if row.accuracy is not None and row.precision is not Precision.FP32:
            before = worst.get(row.precision)
            if before is None or row.accuracy.correct < (before.accuracy or row.accuracy).correct:
                worst[row.precision] = row
    reference = report.reference_accuracy
    assert reference is not None
    yield "accuracy", f"fp32 {percent(reference.top1)} top-1 on {reference.images:,} images of {report.data}"
    for precision, row in worst.items():
        assert row.accuracy is not None
        change = 100 * (row.accuracy.correct - reference.correct) / reference.images
        yield "", f"{precision} {percent(row.accuracy.top1)}, {signed(change)} points ({row.title})"


def _next(made: Deployment, *, failed: bool) -> str:
    folder = shlex.quote(str(made.bundle.folder))
    if made.report is None:
        return f"wrn-deploy eval {folder} --data DATA --max-drop {made.max_drop:g}, with labelled images"
    data = shlex.quote(str(made.data))
    fp32 = made.report.reference_accuracy
    if fp32 is None or not fp32.beats_guessing:
        return "check the weights, the order of the labels, --mean, --std and --resize"
    if failed:
        return f"wrn-deploy tune {folder} --data {data} --max-drop {made.max_drop:g}"
    return f"wrn-deploy bench {folder} --data {data}"
