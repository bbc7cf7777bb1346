"""The options that several commands share: their types, names and texts; and how texts become values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wrn_deploy.errors import UsageError
from wrn_deploy.models import Overrides
from wrn_deploy.pipeline.labels import read_labels

__all__ = [
    "AsJson", "Backend", "BundlePath", "CalibMethod", "CalibSize", "Classes", "Data", "Labels", "MaxCorrupt", "Mean",
    "Percentile", "Resize", "Std", "Threads", "overrides_of", "parse_batches",
]  # fmt: skip

DATA_HELP = "digits, or a path: image folder, .npz, parquet, CIFAR-10/100 folder"

BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder that `export` made.")]
Data = Annotated[str, typer.Option(metavar="DATA", help=f"Labelled images: {DATA_HELP}.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Backend = Annotated[str | None, typer.Option(help="torch, onnxruntime, tensorrt or tensorrt_rtx.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores if not given.")]
MaxCorrupt = Annotated[int, typer.Option(min=0, help="Leave out up to so many corrupt images, and name them.")]
CalibSize = Annotated[int, typer.Option(min=1, help="Images, spread evenly over the data.")]
CalibMethod = Annotated[str, typer.Option(metavar="METHOD", help="max, percentile or entropy.")]
Percentile = Annotated[float, typer.Option(help="Share of magnitudes kept by the percentile method, in per cent.")]
Classes = Annotated[int | None, typer.Option(min=2, help="Classes, where they are not the network's usual number.")]
Labels = Annotated[Path | None, typer.Option(help="Names of the classes: one a line, or a JSON class index.")]
Mean = Annotated[
    str | None, typer.Option(metavar="R,G,B", help="Mean of a 0..1 image that inputs are normalised with.")
]
Std = Annotated[str | None, typer.Option(metavar="R,G,B", help="Deviation of a 0..1 image, likewise.")]
Resize = Annotated[int | None, typer.Option(min=1, help="Resize the shorter side to so many pixels before cropping.")]


def overrides_of(
    classes: int | None, labels: Path | None, mean: str | None, std: str | None, resize: int | None
) -> Overrides:
    """The changes to a network's description that options ask for."""
    return Overrides(
        classes=classes,
        labels=read_labels(labels) if labels else None,
        mean=_three("--mean", mean),
        std=_three("--std", std),
        resize=resize,
    )


def parse_batches(text: str) -> tuple[int, ...]:
    """Batch sizes from a text, as in "1,8"."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--batches {text}: expected numbers and commas, as in 1,8") from error


def _three(option: str, text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{option} {text}: expected three numbers and commas, as in 0.49,0.48,0.45") from error
    return red, green, blue
