"""Prints what the commands found, as a table or as JSON, on stdout."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wrn_deploy.bench.report.report import Report
from wrn_deploy.bundle import Bundle
from wrn_deploy.formatting import count, file_size, percent
from wrn_deploy.pipeline.inference.predict import Predictions
from wrn_deploy.pipeline.inspection.doctor import Diagnosis
from wrn_deploy.pipeline.training.train import TrainResult
from wrn_deploy.rendering.table import RANDOM_WEIGHTS
from wrn_deploy.rendering.text import print_report

__all__ = [
    "show_artifacts",
    "show_diagnosis",
    "show_predictions",
    "show_report",
    "show_training",
]


def show_report(report: Report, *, as_json: bool) -> None:
    """Prints a benchmark's report."""
    if as_json:
        typer.echo(report.to_json(), nl=False)
    else:
        print_report(report, Console(markup=False))


def show_artifacts(bundle: Bundle, keys: Sequence[str], *, as_json: bool) -> None:
    """Prints artifacts that a step made: file, size and digest."""
    artifacts = [bundle.artifacts[key] for key in keys]
    if as_json:
        about = {"bundle": str(bundle.folder), "model": bundle.spec.name, "random_weights": bundle.random_weights}
        _print_json({**about, "artifacts": [dataclasses.asdict(artifact) for artifact in artifacts]})
        return
    table = _table("artifact", "file", "size", "sha256", right=("size",))
    for artifact in artifacts:
        table.add_row(artifact.key, artifact.path, file_size(artifact.size_bytes), artifact.sha256[:12])
    _print_heading(f"{bundle.spec.name} in {bundle.folder}", random_weights=bundle.random_weights)
    Console(markup=False).print(table)


def show_predictions(predictions: Predictions, *, as_json: bool) -> None:
    """Prints the best classes of each image, an image's name on a line of its own, since names may be long."""
    if as_json:
        _print_json(dataclasses.asdict(predictions))
        return
    _print_heading(f"{predictions.model} on {predictions.backend} {predictions.precision}", predictions.random_weights)
    if predictions.scores == "logit":
        _print_line("Scores are logits: this bundle gives its best classes alone, and a softmax needs all of them.")
    for prediction in predictions.images:
        _print_line(prediction.image)
        for scored in prediction.best:
            _print_line(f"  {scored.score:.4f}  {scored.label}")


def show_training(result: TrainResult, *, as_json: bool) -> None:
    """Prints where the weights are and how good they are; of several processes, only the first one prints."""
    if result.process:
        return
    if as_json:
        _print_json({**dataclasses.asdict(result), "weights": str(result.weights), "best": str(result.best)})
        return
    top1 = f"{percent(result.test_top1)} top-1 on {result.test_images} test images"
    _print_line(f"{result.weights}: {top1} after {count(result.epochs, 'epoch')}, {result.seconds:.1f} s")
    if result.best_top1 > result.test_top1:
        chosen = "chosen by these test images, so it flatters"
        _print_line(f"{result.best}: {percent(result.best_top1)} after epoch {result.best_epoch + 1}, {chosen}")


def show_diagnosis(diagnosis: Diagnosis, *, as_json: bool) -> None:
    """Prints what this machine has, and what it can do."""
    if as_json:
        _print_json(dataclasses.asdict(diagnosis))
        return
    found = _table("what", "here")
    for what, here in diagnosis.found.items():
        found.add_row(what, here)
    steps = _table("step", "can be done here")
    for step, reason in diagnosis.steps.items():
        steps.add_row(step, "yes" if reason is None else f"no: {reason}", style=None if reason is None else "yellow")
    Console(markup=False).print(found, "", steps, sep="\n")


def _table(*headers: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for header in headers:
        table.add_column(header, justify="right" if header in right else "left", overflow="fold")
    return table


def _print_heading(text: str, random_weights: bool) -> None:
    _print_line(text, style="bold")
    if random_weights:
        _print_line(RANDOM_WEIGHTS, style="bold red")


def _print_line(text: str, style: str = "") -> None:
    """One line, whatever the width: it can be searched and copied."""
    Console(markup=False).print(Text(text, style), soft_wrap=True)


def _print_json(record: Any) -> None:
    typer.echo(json.dumps(record, indent=1))
