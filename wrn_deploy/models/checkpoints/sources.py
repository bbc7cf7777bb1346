"""Published weights known by name: where each file is, how its pixels are prepared, what it scored; nothing is loaded.

Sources of the facts:

- torchvision: file names, presets and accuracies of `torchvision/models/resnet.py` (its `Weights` enums).
- timm: configurations of `timm/models/resnet.py`, accuracies of `results/results-imagenet.csv` in its repository. Where
  a configuration has one size for training and another for tests, `preprocessing` is the one of 224 pixels, and the
  accuracy's own size stands beside it. The shorter side is resized to floor(size / crop_pct), as timm does.
- mmpretrain: `configs/wrn/metafile.yml` and the data sets' configurations that its models name.

The standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from wrn_deploy.errors import DeployError
from wrn_deploy.plugins import near_names
from wrn_deploy.spec import Preprocessing

__all__ = ["SOURCES", "Accuracy", "Source", "find_source", "sources_of"]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TORCHVISION_URL = "https://download.pytorch.org/models/"
MMPRETRAIN_URL = "https://download.openmmlab.com/mmclassification/v0/wrn/"

NETWORKS = {
    "resnet18": "resnet-18",
    "resnet34": "resnet-34",
    "resnet50": "resnet-50",
    "resnet101": "resnet-101",
    "resnet152": "resnet-152",
    "wide_resnet50_2": "wrn-50-2",
    "wide_resnet101_2": "wrn-101-2",
}


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Published accuracy on ImageNet's 50,000 validation images, in per cent.

    It was measured at `size` pixels, cropped from images whose shorter side was resized to `resize`.
    """

    top1: float
    top5: float
    size: int
    resize: int
    published_in: str


@dataclass(frozen=True, slots=True)
class Source:
    """One published weight file.

    Args:
        name: as `--weights` takes it, as in "timm/wide_resnet50_2.racm_in1k".
        network: the network here that the weights belong to, as in "wrn-50-2".
        file: the file's name.
        preprocessing: what the weights expect; it travels with them.
        accuracy: what was published.
        url: where it is downloaded from; "" where it is on the Hugging Face hub.
        repository: its repository on the Hugging Face hub; "" where it has a `url`.
        sha256: the first hex digits of the file's digest; "" where the hub keeps it.
    """

    name: str
    network: str
    file: str
    preprocessing: Preprocessing
    accuracy: Accuracy
    url: str = ""
    repository: str = ""
    sha256: str = ""


# Architecture, version of the weights, digest in the file's name, shorter side, top-1, top-5.
_TORCHVISION = (
    ("resnet18", 1, "f37072fd", 256, 69.758, 89.078),
    ("resnet34", 1, "b627a593", 256, 73.314, 91.420),
    ("resnet50", 1, "0676ba61", 256, 76.130, 92.862),
    ("resnet50", 2, "11ad3fa6", 232, 80.858, 95.434),
    ("resnet101", 1, "63fe2227", 256, 77.374, 93.546),
    ("resnet101", 2, "cd907fc2", 232, 81.886, 95.780),
    ("resnet152", 1, "394f9c45", 256, 78.312, 94.046),
    ("resnet152", 2, "f82ba261", 232, 82.284, 96.002),
    ("wide_resnet50_2", 1, "95faca4d", 256, 78.468, 94.086),
    ("wide_resnet50_2", 2, "9ba9bcbe", 232, 81.602, 95.758),
    ("wide_resnet101_2", 1, "32ee1156", 256, 78.848, 94.284),
    ("wide_resnet101_2", 2, "d733dc28", 232, 82.510, 96.020),
)

# Kinds of timm configurations: interpolation, crop_pct at 224 pixels; size and crop_pct of the published accuracy.
_TV, _TV2 = ("bilinear", 0.875, 224, 0.875), ("bilinear", 0.965, 224, 0.965)
_T, _TT, _R = ("bicubic", 0.875, 224, 0.875), ("bicubic", 0.875, 288, 0.95), ("bicubic", 0.95, 288, 1.0)
_R3, _A1H = ("bicubic", 0.95, 224, 0.95), ("bicubic", 1.0, 224, 1.0)

# Architecture, tag, kind, top-1, top-5. Those with a deep stem (resnet50d ...) are other networks.
_TIMM = (
    ("wide_resnet50_2", "racm_in1k", _TT, 82.280, 96.064),
    ("wide_resnet50_2", "tv_in1k", _TV, 78.480, 94.086),
    ("wide_resnet50_2", "tv2_in1k", _TV2, 81.606, 95.762),
    ("wide_resnet101_2", "tv_in1k", _TV, 78.838, 94.282),
    ("wide_resnet101_2", "tv2_in1k", _TV2, 82.498, 96.018),
    ("resnet18", "a1_in1k", _R, 73.158, 91.026),
    ("resnet18", "a2_in1k", _R, 72.372, 90.596),
    ("resnet18", "a3_in1k", _R3, 68.254, 88.176),
    ("resnet18", "tv_in1k", _TV, 69.760, 89.070),
    ("resnet34", "a1_in1k", _R, 77.918, 93.766),
    ("resnet34", "a2_in1k", _R, 77.158, 93.274),
    ("resnet34", "a3_in1k", _R3, 72.970, 91.108),
    ("resnet34", "bt_in1k", _TT, 76.480, 93.354),
    ("resnet50", "a1_in1k", _R, 81.214, 95.102),
    ("resnet50", "a1h_in1k", _A1H, 80.676, 95.306),
    ("resnet50", "a2_in1k", _R, 80.772, 94.988),
    ("resnet50", "a3_in1k", _R3, 78.048, 93.780),
    ("resnet50", "b1k_in1k", _R, 80.706, 95.432),
    ("resnet50", "b2k_in1k", _R, 80.454, 95.318),
    ("resnet50", "c1_in1k", _R, 80.912, 95.552),
    ("resnet50", "c2_in1k", _R, 80.870, 95.534),
    ("resnet50", "d_in1k", _R, 80.972, 95.430),
    ("resnet50", "ram_in1k", _TT, 79.976, 95.052),
    ("resnet50", "am_in1k", _T, 78.998, 94.396),
    ("resnet50", "ra_in1k", _TT, 79.836, 94.966),
    ("resnet50", "bt_in1k", _TT, 79.640, 94.892),
    ("resnet50", "tv_in1k", _TV, 76.130, 92.858),
    ("resnet50", "tv2_in1k", _TV2, 80.850, 95.434),
    ("resnet101", "a1_in1k", _R, 82.322, 95.632),
    ("resnet101", "a1h_in1k", _R, 82.778, 96.310),
    ("resnet101", "a2_in1k", _R, 82.236, 95.730),
    ("resnet101", "a3_in1k", _R3, 79.814, 94.606),
    ("resnet101", "tv_in1k", _TV, 77.376, 93.542),
    ("resnet101", "tv2_in1k", _TV2, 81.890, 95.768),
    ("resnet152", "a1_in1k", _R, 82.732, 95.720),
    ("resnet152", "a2_in1k", _R, 82.608, 95.752),
    ("resnet152", "a3_in1k", _R3, 80.546, 95.000),
    ("resnet152", "tv_in1k", _TV, 78.322, 94.048),
    ("resnet152", "tv2_in1k", _TV2, 82.288, 96.004),
)

# Name, network, date and digest in the file's name, interpolation, top-1, top-5.
_MMPRETRAIN = (
    ("wide-resnet50_3rdparty_8xb32_in1k", "wrn-50-2", "20220304-66678344", "bilinear", 78.48, 94.08),
    ("wide-resnet101_3rdparty_8xb32_in1k", "wrn-101-2", "20220304-8d5f9d61", "bilinear", 78.84, 94.28),
    ("wide-resnet50_3rdparty-timm_8xb32_in1k", "wrn-50-2", "20220304-83ae4399", "bicubic", 81.45, 95.53),
)


def _usual(resize: int, interpolation: str) -> Preprocessing:
    return Preprocessing(224, 224, MEAN, STD, resize, interpolation)


def _from_torchvision(row: tuple[str, int, str, int, float, float]) -> Source:
    architecture, version, digest, resize, top1, top5 = row
    file = f"{architecture}-{digest}.pth"
    return Source(
        name=f"torchvision/{architecture}.IMAGENET1K_V{version}",
        network=NETWORKS[architecture],
        file=file,
        preprocessing=_usual(resize, "bilinear"),
        accuracy=Accuracy(top1, top5, 224, resize, "torchvision, models/resnet.py"),
        url=TORCHVISION_URL + file,
        sha256=digest,
    )


def _from_timm(row: tuple[str, str, tuple[str, float, int, float], float, float]) -> Source:
    architecture, tag, (interpolation, crop, size, test_crop), top1, top5 = row
    return Source(
        name=f"timm/{architecture}.{tag}",
        network=NETWORKS[architecture],
        file="model.safetensors",
        preprocessing=_usual(math.floor(224 / crop), interpolation),
        accuracy=Accuracy(top1, top5, size, math.floor(size / test_crop), "timm, results/results-imagenet.csv"),
        repository=f"timm/{architecture}.{tag}",
    )


def _from_mmpretrain(row: tuple[str, str, str, str, float, float]) -> Source:
    name, network, made, interpolation, top1, top5 = row
    file = f"{name}_{made}.pth"
    return Source(
        name=f"mmpretrain/{name}",
        network=network,
        file=file,
        preprocessing=_usual(256, interpolation),
        accuracy=Accuracy(top1, top5, 224, 256, "mmpretrain, configs/wrn/metafile.yml"),
        url=MMPRETRAIN_URL + file,
        sha256=made.partition("-")[2],
    )


SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        source.name: source
        for source in (
            *map(_from_torchvision, _TORCHVISION),
            *map(_from_timm, _TIMM),
            *map(_from_mmpretrain, _MMPRETRAIN),
        )
    }
)


def find_source(name: str) -> Source:
    """The published weights called `name`.

    Raises:
        DeployError: no such weights are known; the text names near ones.
    """
    if name not in SOURCES:
        raise DeployError(
            f"no weights are known as {name!r}{near_names(name, list(SOURCES))}: expected a file, or a name as in "
            f"timm/wide_resnet50_2.racm_in1k; `wrn-deploy models --json` lists them"
        )
    return SOURCES[name]


def sources_of(network: str) -> tuple[Source, ...]:
    """The published weights of `network`, as in "wrn-50-2": in the order torchvision, timm, mmpretrain."""
    return tuple(source for source in SOURCES.values() if source.network == network)
