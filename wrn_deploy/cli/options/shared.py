"""The options that several commands share: their types, names and texts; and how texts become values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from wrn_deploy.cli.options.declare import choice, flag, one_of, option, values
from wrn_deploy.errors import UsageError
from wrn_deploy.plugins import plugin_names
from wrn_deploy.spec import Precision

if TYPE_CHECKING:
    from wrn_deploy.data.sampling.block import Block
    from wrn_deploy.models import Overrides
    from wrn_deploy.pipeline.inference.models import BundleOrWeights
    from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions

__all__ = [
    "CALIBRATION", "DATA", "RECIPE", "TIMING",
    "AsJson", "BundlePath", "BundlePaths",
    "CalibDataFirst", "CalibrationFlags", "Data", "DecodingFlags", "DryRun", "Limit", "Model",
    "NetworkFlags", "PrecisionOf", "ShardFlags", "TargetFlags", "Threads", "WeightsKey",
    "parse_batches", "parse_candidate", "parse_percent", "parse_three",
]  # fmt: skip

# Titles of the panels that --help shows options in.
CALIBRATION, RECIPE, TIMING = "Calibration", "Recipe", "Timing"

DATA = "digits, or a path: images, .npz, parquet, .tar shards, CIFAR, SVHN, MNIST; add :SPLIT for one split"
METHODS = plugin_names("wrn_deploy.calib.methods")

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Network, such as wrn-16-2; see `wrn-deploy models`.")]
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder, from `wrn-deploy export`.")]
BundlePaths = Annotated[
    list[Path], typer.Argument(metavar="BUNDLE [...]", help="Bundle folders, from `wrn-deploy export`.")
]
AsJson = Annotated[bool, flag("--json", "Print JSON instead of a table.")]
DryRun = Annotated[bool, flag("--dry-run", "Print the steps with estimated sizes and times; write nothing.")]

Data = Annotated[str, option("DATA", f"Labelled images: {DATA}.")]
PrecisionOf = Annotated[Precision | None, choice(Precision, "Use only this precision:")]
Threads = Annotated[int | None, option("N", "CPU threads. Default: all cores.", minimum=1)]
Limit = Annotated[int | None, option("N", "Measure accuracy on at most N images.", minimum=1)]

CalibDataFirst = Annotated[
    str | None, option("DATA", "Calibrate on these images first. Default: use the bundle's table.", CALIBRATION)
]
WeightsKey = Annotated[
    str, option("NAME", "State dict to use if the file has several, such as model_ema; . for the top level.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodingFlags:
    """The options that say how images are read."""

    max_corrupt: Annotated[str, option("N", "Skip up to N corrupt images (or X% of all), and list them.")] = "0"
    workers: Annotated[
        int | None,
        option(
            "N",
            "Processes that decode images; 0: a single one. Default: one per core for large images.",
            minimum=0,
        ),
    ] = None

    def options(self) -> dict[str, Any]:
        """The options by the pipeline's names; raises UsageError if --max-corrupt is not a number or percent."""
        from wrn_deploy.data.corrupt import parse_max_corrupt

        return {"max_corrupt": parse_max_corrupt(self.max_corrupt), "workers": self.workers}


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationFlags:
    """The options that say how ranges are calibrated."""

    PANEL: ClassVar[str] = CALIBRATION

    size: Annotated[
        int, option("N", "Number of images, sampled evenly from the data.", minimum=1, name="--calib-size")
    ] = 256
    method: Annotated[str, one_of(METHODS, name="--calib-method")] = "mse"
    percentile: Annotated[float, option("X", "Percentage of magnitudes that the percentile method keeps.")] = 99.99

    def options(self, data: str, **more: Any) -> CalibrateOptions:
        """The options that the pipeline takes; those not in `more` have their defaults."""
        from wrn_deploy.pipeline.quantization.calibrate import CalibrateOptions

        return CalibrateOptions(data=data, **values(self), **more)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFlags:
    """The options that divide a step among machines."""

    PANEL: ClassVar[str] = "Several machines"

    shard: Annotated[
        str | None, option("I/N", "Do only shard I of N, from 0, and write a file for --merge into --out.")
    ] = None
    out: Annotated[Path | None, option("FOLDER", "Folder for the file of --shard.")] = None
    merge: Annotated[
        list[Path] | None, option("PATH", "Finish with the shards in this file or folder; repeatable.")
    ] = None

    @property
    def block(self) -> tuple[Block, Path] | None:
        """The shard to do and the folder for its file; raises UsageError for one without the other."""
        if self.shard is None:
            return None
        from wrn_deploy.data.sampling.block import parse_block

        block = parse_block(self.shard)
        if self.out is None:
            raise UsageError(f"--shard {block}: expected --out FOLDER too, the folder for its file")
        return block, self.out


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFlags:
    """The options that change the description of a network."""

    PANEL: ClassVar[str] = "Network"

    classes: Annotated[
        int | None, option("N", "Number of classes. Default: the network's usual number.", minimum=2)
    ] = None
    labels: Annotated[Path | None, option("FILE", "Class names: one per line, or a JSON class index.")] = None
    mean: Annotated[str | None, option("R,G,B", "Normalisation mean of a 0..1 image.")] = None
    std: Annotated[str | None, option("R,G,B", "Normalisation standard deviation of a 0..1 image.")] = None
    resize: Annotated[int | None, option("N", "Resize the shorter side to N pixels before cropping.", minimum=1)] = None

    def overrides(self, dropout: float | None = None) -> Overrides:
        """The changes to the network's description; raises DeployError if a value or the file of labels is wrong."""
        from wrn_deploy.models import Overrides
        from wrn_deploy.pipeline.networks.labels import read_labels

        return Overrides(
            classes=self.classes,
            labels=read_labels(self.labels) if self.labels else None,
            dropout=dropout,
            mean=parse_three("--mean", self.mean),
            std=parse_three("--std", self.std),
            resize=self.resize,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFlags(NetworkFlags):
    """What runs: a bundle, or weights and the description of their network."""

    path: Annotated[Path, typer.Argument(metavar="BUNDLE|WEIGHTS", help="Bundle folder, or weights: a file or a name.")]
    model: Annotated[str | None, option("MODEL", "Network, such as wrn-16-2; needed if WEIGHTS do not name it.")] = None
    weights_key: WeightsKey = ""

    def target(self) -> BundleOrWeights:
        """The target that the pipeline takes; raises as `overrides` does."""
        from wrn_deploy.pipeline.inference.models import BundleOrWeights

        return BundleOrWeights(path=self.path, model=self.model, overrides=self.overrides(), key=self.weights_key)


def parse_batches(text: str) -> tuple[int, ...]:
    """Batch sizes from a text, as in "1,8"."""
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1 or len(set(sizes)) < len(sizes):
        raise UsageError(f"--batches {text!r}: expected distinct sizes of at least 1, separated by commas, such as 1,8")
    return sizes


def parse_candidate(option_name: str, text: str | None) -> tuple[str, Precision] | None:
    """A backend and a precision from a text, as in "onnxruntime-int8"."""
    if text is None:
        return None
    backend, _, precision = text.rpartition("-")
    try:
        return backend, Precision(precision)
    except ValueError as error:
        raise UsageError(f"{option_name} {text!r}: expected BACKEND-PRECISION, such as onnxruntime-int8") from error


def parse_percent(option_name: str, text: str | None) -> float | None:
    """Percent from a text, as in "5%" and "5"."""
    if text is None:
        return None
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise UsageError(f"{option_name} {text!r}: expected a percentage of at least 0, such as 5% or 5")
    return value


def parse_three(option_name: str, text: str | None) -> tuple[float, float, float] | None:
    """Three numbers, of red, green and blue, from a text, as in "0.49,0.48,0.45"."""
    if text is None:
        return None
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError:
        red = green = blue = math.nan
    if not all(map(math.isfinite, (red, green, blue))):
        raise UsageError(
            f"{option_name} {text!r}: expected three finite numbers separated by commas, such as 0.49,0.48,0.45"
        )
    return red, green, blue
