"""Prints what the commands found, as a table or as JSON, on stdout."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from wrn_deploy.bench.report import Report
from wrn_deploy.bench.text import print_report
from wrn_deploy.bundle import Artifact, Bundle
from wrn_deploy.pipeline.doctor import Diagnosis
from wrn_deploy.pipeline.listing import Listed
from wrn_deploy.pipeline.predict import Prediction
from wrn_deploy.pipeline.train import TrainResult

__all__ = [
    "show_artifacts",
    "show_diagnosis",
    "show_json",
    "show_models",
    "show_predictions",
    "show_report",
    "show_training",
]


def show_json(record: Any) -> None:
    """Prints dataclasses, or anything JSON has a type for."""
    plain = dataclasses.asdict(record) if dataclasses.is_dataclass(record) and not isinstance(record, type) else record
    sys.stdout.write(json.dumps(plain, indent=1, default=dataclasses.asdict) + "\n")


def show_report(report: Report, *, as_json: bool) -> None:
    """Prints a benchmark's report."""
    if as_json:
        sys.stdout.write(report.to_json())
    else:
        print_report(report, Console())


def show_artifacts(bundle: Bundle, artifacts: Sequence[Artifact], *, as_json: bool) -> None:
    """Prints artifacts of a bundle: file, size and digest."""
    if as_json:
        show_json({"bundle": str(bundle.folder), "artifacts": [dataclasses.asdict(artifact) for artifact in artifacts]})
        return
    mark = " (RANDOM WEIGHTS: for speed work only)" if bundle.random_weights else ""
    table = Table(title=f"{bundle.spec.name} in {bundle.folder}{mark}", title_justify="left", box=SIMPLE_HEAD)
    for header in ("artifact", "file", "size", "sha256"):
        table.add_column(header, justify="right" if header == "size" else "left")
    for artifact in artifacts:
        table.add_row(artifact.key, artifact.path, f"{artifact.size_bytes / 2**20:.2f} MiB", artifact.sha256[:12])
    Console().print(table)


def show_models(models: Sequence[Listed], *, as_json: bool) -> None:
    """Prints the networks with their costs."""
    if as_json:
        show_json([dataclasses.asdict(model) for model in models])
        return
    table = Table(box=SIMPLE_HEAD)
    table.add_column("model")
    for header in ("input", "parameters", "MACs"):
        table.add_column(header, justify="right")
    for model in models:
        shape = "x".join(map(str, model.input))
        table.add_row(model.name, shape, f"{model.parameters:,}", f"{model.macs:,}")
    console = Console()
    console.print(table)
    console.print("Any wrn-<depth>-<widen> with depth 6n+4 works; MACs are of one image, Conv and Linear layers.")


def show_predictions(predictions: Sequence[Prediction], *, as_json: bool) -> None:
    """Prints the best classes of each image."""
    if as_json:
        show_json([dataclasses.asdict(prediction) for prediction in predictions])
        return
    table = Table(box=SIMPLE_HEAD)
    for header in ("image", "label", "score"):
        table.add_column(header, justify="right" if header == "score" else "left", overflow="fold")
    for prediction in predictions:
        for index, (label, score) in enumerate(prediction.best):
            table.add_row(prediction.image if index == 0 else "", label, f"{score:.4f}")
    Console().print(table)


def show_training(result: TrainResult, *, as_json: bool) -> None:
    """Prints where the weights are and how good they are."""
    if as_json:
        show_json({**dataclasses.asdict(result), "weights": str(result.weights)})
        return
    top1 = f"{100 * result.test_top1:.2f} % top-1 on {result.test_images} test images"
    Console().print(f"{result.weights}: {top1} after {result.epochs} epochs", highlight=False, soft_wrap=True)


def show_diagnosis(diagnosis: Diagnosis, *, as_json: bool) -> None:
    """Prints what this machine has, and what it can do."""
    if as_json:
        show_json(diagnosis)
        return
    table = Table(box=SIMPLE_HEAD)
    for header in ("what", "here"):
        table.add_column(header, overflow="fold")
    for what, found in diagnosis.found.items():
        table.add_row(what, found)
    table.add_section()
    for step, reason in diagnosis.steps.items():
        table.add_row(step, "yes" if reason is None else f"no: {reason}", style=None if reason is None else "yellow")
    Console().print(table)
