"""Which preprocessing belongs to weights, and how that is known; nothing is loaded. The standard library only."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.files.text import read_json
from wrn_deploy.models.checkpoints.sources import WeightsSource, read_sources, sources_of
from wrn_deploy.spec import ModelSpec, Preprocessing

__all__ = ["WeightsPreprocessing", "describe_preprocessing", "find_preprocessing", "published_as"]

CONFIG = "config.json"  # what timm writes beside its weights
PROCESSOR = "preprocessor_config.json"  # what transformers writes; it does not say whose it is

Three = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class WeightsPreprocessing:
    """The preprocessing that some weights expect, and how that is known.

    `source` is set for published weights; `not_taken` says which files beside the weights were not taken, and why.
    """

    preprocessing: Preprocessing
    why: str
    source: WeightsSource | None = None
    not_taken: tuple[str, ...] = ()


def find_preprocessing(
    usual: ModelSpec,
    file: Path,
    digest: str,
    *,
    source: WeightsSource | None = None,
    normalizer: tuple[Three, Three] | None,
) -> WeightsPreprocessing:
    """What is known of the weights in `file`, the surest first.

    Args:
        usual: the network's description with its classes in the file; its preprocessing is the last resort.
        file: the weights; timm's `config.json` may stand beside them.
        digest: the file's sha256.
        source: the published weights, if they were asked for by name.
        normalizer: mean and deviation of a layer that normalises, if the file has one.

    Raises:
        DeployError: the file has the digest of another network's published weights, or a `config.json` of the network
            or a layer that normalises has values that are not supported here.
    """
    known = source or published_as(digest)
    if known is not None:
        if known.network != usual.name:
            raise DeployError(f"{file} is {known.name}, of {known.network}: expected weights of {usual.name}")
        return WeightsPreprocessing(known.preprocessing, f"published with {known.name}", known)
    config, not_taken = _timm_config(file.parent / CONFIG, usual)
    if config is not None:
        return WeightsPreprocessing(config, f"from the {CONFIG} next to the file")
    if (file.parent / PROCESSOR).is_file():
        not_taken += (f"{PROCESSOR} next to the file does not say which network it is for",)
    own, why = usual.preprocessing, f"the usual one of {usual.name}: the weights do not say"
    if normalizer is not None:
        try:
            own = dataclasses.replace(own, mean=normalizer[0], std=normalizer[1])
        except DeployError as error:
            raise DeployError(f"{file} has a layer that normalises, {error}") from error
        why = "mean and std from the normalising layer in the file, the rest usual for the network"
    return WeightsPreprocessing(own, why, not_taken=not_taken)


def describe_preprocessing(preprocessing: Preprocessing) -> str:
    """One line on it, as in "shorter side 232 (bilinear), centre 224x224, mean 0.485,0.456,0.406, std ..."."""
    resized = ""
    if preprocessing.resize is not None:
        resized = f"shorter side {preprocessing.resize} ({preprocessing.interpolation}), centre "
    mean, std = (",".join(f"{value:g}" for value in values) for values in (preprocessing.mean, preprocessing.std))
    return f"{resized}{preprocessing.width}x{preprocessing.height}, mean {mean}, std {std}"


def published_as(digest: str) -> WeightsSource | None:
    """The published weights whose file has this sha256; None if none is known."""
    found = (source for source in read_sources().values() if source.sha256 and digest.startswith(source.sha256))
    return next(found, None)


def _timm_config(file: Path, usual: ModelSpec) -> tuple[Preprocessing | None, tuple[str, ...]]:
    """The preprocessing in timm's configuration, or why it is not taken; neither if another program wrote it.

    It may have one size for training and one for tests: the test's is taken if it is the network's usual size.
    """
    try:
        record = read_json(file)
        config = record.get("pretrained_cfg", record)
        if not {"mean", "std", "input_size"} <= config.keys():
            return None, ()
    except (OSError, DamagedFile, AttributeError):
        return None, ()
    other = _other_network({**config, **record}, usual)
    if other:
        return None, (f"{CONFIG} next to the file {other}",)
    try:
        return _as_preprocessing(config, usual.preprocessing), ()
    except (KeyError, TypeError, ValueError, ArithmeticError, DeployError) as error:
        raise DeployError(
            f"{file} needs a preprocessing that is not supported ({error}): expected timm's pretrained_cfg with "
            "input_size, interpolation, crop_pct, mean and std; correct it, or remove it and pass --mean, --std and "
            "--resize"
        ) from error


def _other_network(config: dict[str, Any], usual: ModelSpec) -> str:
    """Why a configuration is not that of the network; "" if it is."""
    architecture, classes = config.get("architecture"), config.get("num_classes", usual.classes)
    if architecture is None:
        return "does not say which network it is for"
    own = {source.name.partition("/")[2].partition(".")[0] for source in sources_of(usual.name)}
    if _letters(architecture) not in {_letters(name) for name in (usual.name, *own)}:
        return f"is of {architecture}, not of {usual.name}"
    return "" if classes == usual.classes else f"is for {classes} classes, and the weights have {usual.classes}"


def _letters(name: object) -> str:
    """The name as timm, torchvision and this project would all write it: wide_resnet50_2, without signs."""
    return "".join(letter for letter in str(name).lower() if letter.isalnum())


def _as_preprocessing(config: dict[str, Any], usual: Preprocessing) -> Preprocessing:
    size, crop = config["input_size"], config.get("crop_pct", 0.875)
    tested = config.get("test_input_size")
    if tested is not None and tuple(tested[1:]) == (usual.height, usual.width):
        size, crop = tested, config.get("test_crop_pct", crop)
    if config.get("crop_mode", "center") != "center":
        raise DeployError(f"crop_mode {config['crop_mode']!r}: expected center")
    channels, height, width = size
    if channels != 3 or height != width:
        raise DeployError(f"input_size {size}: expected 3 channels and a square")
    options: dict[str, Any] = {key: tuple(float(value) for value in config[key]) for key in ("mean", "std")}
    resize = math.floor(height / crop)  # as timm's transforms_imagenet_eval
    interpolation = config.get("interpolation", "bilinear")
    return Preprocessing(height=height, width=width, resize=resize, interpolation=interpolation, **options)
