"""The options that several commands share: their types, names and texts; and how texts become values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from wrn_deploy.bench.measuring.loadgen import Scenario
from wrn_deploy.errors import UsageError
from wrn_deploy.models import Overrides
from wrn_deploy.pipeline.allowance import parse_allowance
from wrn_deploy.pipeline.networks.labels import read_labels
from wrn_deploy.pipeline.quantization.quantize import Rounding, WeightScales
from wrn_deploy.plugins import near_names, plugin_names
from wrn_deploy.runtime.backend import runtimes
from wrn_deploy.spec import Precision

__all__ = [
    "BATCHES", "CALIBRATION", "LOAD", "RECIPE", "TIMING",
    "All", "AsJson", "Backend", "Backends", "BiasCorrection", "BundleOrWeights", "BundlePath",
    "CalibData", "CalibDataFirst",
    "CalibMethod", "CalibSize", "Classes", "Data", "Equalize", "ExactInput", "FeatureMaps", "Features", "Labels",
    "LearningSteps", "Limit", "MaxCorrupt", "Mean", "Model", "ModelOfWeights", "Percentile", "Pixels", "Precisions",
    "Resize", "RoundingOf", "Scenarios", "Std", "Threads", "TopK", "WeightScaleOf", "Weights", "WeightsKey", "Workers",
    "either", "flag", "option", "overrides_of", "parse_allowance", "parse_batches", "parse_contender", "parse_percent",
    "several",
]  # fmt: skip

# Titles of the groups that --help shows options in.
BATCHES, CALIBRATION, NETWORK, RECIPE, TIMING = "Batch sizes", "Calibration", "Network", "Recipe", "Timing"
LOAD = "Load scenarios"
TECHNIQUES, INTERFACE = "Accuracy techniques of int8", "Interface of the graphs"


def option(metavar: str, about: str, panel: str | None = None, least: int | None = None) -> Any:
    """An option with a value, which --help shows as `metavar`, in the group `panel`."""
    return typer.Option(metavar=metavar, help=about, rich_help_panel=panel, min=least)


def flag(name: str, about: str, **more: Any) -> Any:
    """An option without a value; typer would show <bool> for one without a metavar."""
    return typer.Option(name, metavar="", help=about, **more)


def either(name: str, about: str) -> Any:
    """A technique that is on or off."""
    return typer.Option(f"--{name}/--no-{name}", metavar="", help=about, rich_help_panel=TECHNIQUES)


def _one_of(names: list[str], panel: str | None = None, name: str | None = None) -> Any:
    """An option whose value is one of `names`; for another the error says what was probably meant.

    With `name`, as in "--backend", it is one that may be given several times.
    """

    def check(value: str | list[str] | None) -> str | list[str] | None:
        for one in [value] if isinstance(value, str) else value or []:
            if one not in names:
                raise typer.BadParameter(f"{one!r}{near_names(one, names)}; expected one of {', '.join(names)}.")
        return value

    about = f"{', '.join(names[:-1])} or {names[-1]}{'; repeatable' if name else ''}."
    declared = [name] if name else []
    return typer.Option(*declared, metavar="NAME", callback=check, rich_help_panel=panel, help=about)


DATA = "digits, or a path: images, .npz, parquet, .tar shards, CIFAR, SVHN, MNIST"
BACKENDS, METHODS = list(runtimes()), plugin_names("wrn_deploy.calib.methods")

Model = Annotated[str, typer.Argument(metavar="MODEL", help="As in wrn-16-2; `wrn-deploy models` lists them.")]
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder that `wrn-deploy export` made.")]
BundleOrWeights = Annotated[
    Path,
    typer.Argument(metavar="BUNDLE|WEIGHTS", help="A bundle's folder; or weights: a file, or known by name."),
]
AsJson = Annotated[bool, flag("--json", "Print JSON instead of a table.")]

Data = Annotated[str, option("DATA", f"Labelled images: {DATA}.")]
Backend = Annotated[str | None, _one_of(BACKENDS)]
Backends = Annotated[list[str] | None, _one_of(BACKENDS, name="--backend")]
All = Annotated[bool, flag("--all", "Measure variants, other runtimes and experimental precisions too.")]
Precisions = Annotated[Precision | None, typer.Option(help="One that the backend offers.")]
Threads = Annotated[int | None, option("N", "CPU threads; all cores if not given.", least=1)]
Limit = Annotated[int | None, option("N", "Use so many images for accuracy, at most.", least=1)]
MaxCorrupt = Annotated[str, option("N", "Leave out up to so many corrupt images, or X% of all, and name them.")]
Workers = Annotated[
    int | None,
    option("N", "Processes that decode images, 0: none; for large images one a core if not given.", least=0),
]

CalibData = Annotated[str, option("DATA", f"Images, labelled or not: {DATA}.")]
CalibDataFirst = Annotated[
    str | None, option("DATA", "Calibrate on these first; else the bundle's table is used.", CALIBRATION)
]
CalibSize = Annotated[int, option("N", "Images, spread evenly over the data.", CALIBRATION, least=1)]
CalibMethod = Annotated[str, _one_of(METHODS, CALIBRATION)]
Percentile = Annotated[
    float, option("X", "For the percentile method: the share of magnitudes to keep, in per cent.", CALIBRATION)
]

Equalize = Annotated[bool, either("equalize", "Rescale channels so that they share one scale well; exact.")]
ExactInput = Annotated[bool, either("exact-input", "Give the first Conv the pixels' own codes; TensorRT's graph.")]
BiasCorrection = Annotated[bool, either("bias-correction", "Correct each channel's mean; TensorRT's graph.")]
WeightScaleOf = Annotated[
    WeightScales, typer.Option(rich_help_panel=TECHNIQUES, help="What has a weight scale of its own.")
]
Scenarios = Annotated[
    list[Scenario] | None,
    typer.Option(
        "--scenario", metavar="NAME", rich_help_panel=LOAD, help=f"{', '.join(Scenario)}: MLPerf's; repeatable."
    ),
]
RoundingOf = Annotated[Rounding, typer.Option(rich_help_panel=TECHNIQUES, help="How weights become integers.")]
LearningSteps = Annotated[int, option("N", "Steps of --rounding learned.", TECHNIQUES, least=1)]

Pixels = Annotated[
    bool, flag("--pixels", "Graphs take pixels (uint8, NHWC) and normalise them.", rich_help_panel=INTERFACE)
]
TopK = Annotated[int | None, option("N", "Graphs give the best N classes instead of all logits.", INTERFACE, least=1)]
Features = Annotated[bool, flag("--features", "Graphs give the pooled features too.", rich_help_panel=INTERFACE)]
FeatureMaps = Annotated[
    bool, flag("--feature-maps", "Graphs give the last tensor of each resolution too.", rich_help_panel=INTERFACE)
]

Weights = Annotated[
    str | None,
    option("FILE|NAME", "File (code in it is never run), or a name as in timm/wide_resnet50_2.racm_in1k."),
]
WeightsKey = Annotated[str, option("NAME", "Which state dict of the file, where it has several; as in state_dict.")]

Classes = Annotated[int | None, option("N", "Classes, where not the network's usual number.", NETWORK, least=2)]
Labels = Annotated[Path | None, option("FILE", "Names of the classes: one a line, or a JSON class index.", NETWORK)]
Mean = Annotated[str | None, option("R,G,B", "Mean that inputs are normalised with, of a 0..1 image.", NETWORK)]
Std = Annotated[str | None, option("R,G,B", "Standard deviation, likewise.", NETWORK)]
ModelOfWeights = Annotated[
    str | None, option("MODEL", "For WEIGHTS that do not say it: their network, as in wrn-16-2.", NETWORK)
]
Resize = Annotated[
    int | None, option("N", "Resize the shorter side to so many pixels before cropping.", NETWORK, least=1)
]


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


def several(values: list[str] | None) -> tuple[str, ...] | None:
    """The values of a repeatable option, each once; None where it was not given."""
    return tuple(dict.fromkeys(values)) if values else None


def parse_batches(text: str) -> tuple[int, ...]:
    """Batch sizes from a text, as in "1,8"."""
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1 or len(set(sizes)) < len(sizes):
        raise UsageError(f"--batches {text!r}: expected different sizes from 1, separated by commas, as in 1,8")
    return sizes


def parse_contender(text: str | None, option: str = "--baseline") -> tuple[str, Precision] | None:
    """A backend and a precision from a text, as in "onnxruntime-int8"."""
    if text is None:
        return None
    backend, _, precision = text.rpartition("-")
    try:
        return backend, Precision(precision)
    except ValueError as error:
        raise UsageError(f"{option} {text!r}: expected BACKEND-PRECISION, as in onnxruntime-int8") from error


def parse_percent(option: str, text: str | None) -> float | None:
    """Per cent from a text, as in "5%" and "5"."""
    if text is None:
        return None
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise UsageError(f"{option} {text!r}: expected per cent from 0, as in 5% or 5")
    return value


def _three(option: str, text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError:
        red = green = blue = math.nan
    if not all(map(math.isfinite, (red, green, blue))):
        raise UsageError(f"{option} {text!r}: expected three finite numbers and commas, as in 0.49,0.48,0.45")
    return red, green, blue
