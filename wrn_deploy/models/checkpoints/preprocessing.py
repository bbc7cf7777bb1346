"""Which preprocessing belongs to weights, and how that is known; nothing is loaded. The standard library only."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wrn_deploy.errors import DeployError
from wrn_deploy.models.checkpoints.sources import SOURCES, Source
from wrn_deploy.spec import ModelSpec, Preprocessing

__all__ = ["Preparation", "find_preparation", "published_as", "tell_preprocessing"]

CONFIG = "config.json"  # what timm writes beside its weights

Three = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Preparation:
    """How images are prepared for some weights, and why so; `source` is there where the weights are published ones."""

    preprocessing: Preprocessing
    why: str
    source: Source | None = None


def find_preparation(
    usual: ModelSpec, file: Path, digest: str, *, source: Source | None = None, normalizer: tuple[Three, Three] | None
) -> Preparation:
    """What is known of the weights in `file`, the surest first.

    Args:
        usual: the network's description, whose preprocessing is taken where nothing else is known.
        file: the weights; timm's `config.json` may stand beside them.
        digest: the file's sha256.
        source: the published weights, where they were asked for by name.
        normalizer: mean and deviation of a layer that normalises, where the file has one.

    Raises:
        DeployError: the file has the digest of another network's published weights, or a `config.json` that says what
            cannot be done here.
    """
    known = source or published_as(digest)
    if known is not None:
        if known.network != usual.name:
            raise DeployError(f"{file} is {known.name}, of {known.network}: expected weights of {usual.name}")
        return Preparation(known.preprocessing, f"published with {known.name}", known)
    described = _timm_config(file.parent / CONFIG, usual.preprocessing)
    if described is not None:
        return Preparation(described, f"from the {CONFIG} beside the file")
    if normalizer is not None:
        mean, std = normalizer
        own = dataclasses.replace(usual.preprocessing, mean=mean, std=std)
        return Preparation(own, "mean and std from the normalising layer in the file, the rest usual for the network")
    return Preparation(usual.preprocessing, f"the usual one of {usual.name}: the weights do not say")


def tell_preprocessing(how: Preprocessing) -> str:
    """One line on it, as in "shorter side 232 (bilinear), centre 224x224, mean 0.485,0.456,0.406, std ..."."""
    resized = f"shorter side {how.resize} ({how.interpolation}), centre " if how.resize is not None else ""
    mean, std = (",".join(f"{value:g}" for value in values) for values in (how.mean, how.std))
    return f"{resized}{how.width}x{how.height}, mean {mean}, std {std}"


def published_as(digest: str) -> Source | None:
    """The published weights whose file has this sha256, where that is known; None for others."""
    return next((source for source in SOURCES.values() if source.sha256 and digest.startswith(source.sha256)), None)


def _timm_config(file: Path, usual: Preprocessing) -> Preprocessing | None:
    """What timm's configuration says; None where there is none, or another program's.

    It may have one size for training and one for tests: the test's is taken where that is the network's usual size.
    """
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        config = record.get("pretrained_cfg", record)
        if not {"mean", "std", "input_size"} <= config.keys():
            return None
    except (OSError, ValueError, AttributeError):
        return None
    try:
        return _as_preprocessing(config, usual)
    except (KeyError, TypeError, ValueError, ArithmeticError, DeployError) as error:
        raise DeployError(
            f"{file} says of its weights what cannot be done here ({error}): expected timm's pretrained_cfg with "
            "input_size, interpolation, crop_pct, mean and std; correct it, or take it away and pass --mean, --std and "
            "--resize"
        ) from error


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
    mean, std = (tuple(float(value) for value in config[key]) for key in ("mean", "std"))
    resize = math.floor(height / crop)  # as timm's transforms_imagenet_eval
    return Preprocessing(height, width, mean, std, resize, config.get("interpolation", "bilinear"))  # type: ignore[arg-type]
