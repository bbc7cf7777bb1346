"""The published accuracies of the networks: data set, training, top-1 and top-5, each with its source; pure data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = ["ACCURACIES", "Accuracy"]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """An accuracy as published: `top1` and `top5` in percent of images; where errors are published, 100 less them.

    `weights` says how the weights came about: which recipe, preprocessing or file.
    """

    data: str
    top1: float
    top5: float | None
    weights: str
    source: str


Row = tuple[str, str, float | None, float | None]  # name; weights; two figures

WRN = "Zagoruyko and Komodakis, Wide Residual Networks, arXiv:1605.07146v4"
WRN_README = "github.com/szagoruyko/wide-residual-networks, README.md"
WRN_PRETRAINED = "github.com/szagoruyko/wide-residual-networks, pretrained/README.md"
TORCHVISION = "pytorch.org/vision, table of all available classification weights"
MMPRETRAIN = "github.com/open-mmlab/mmpretrain, configs/wrn/README.md"

MEAN_STD = "paper's recipe, mean/std normalisation"
DROPOUT = "paper's recipe, mean/std normalisation, dropout 0.3"
ONE_RUN = "paper's recipe, mean/std normalisation, dropout 0.3, a single run"
ZCA = "paper's recipe, ZCA whitening"
WHITENED = "paper's recipe, whitened images"
SVHN = "paper's SVHN recipe"
SVHN_DROPOUT = "paper's SVHN recipe, dropout 0.4"
ONE_CROP = "paper's ImageNet recipe, one central crop"

# Errors in percent on CIFAR-10 and CIFAR-100. None: not published.
CIFAR_ERRORS: Mapping[str, tuple[Row, ...]] = {
    f"{WRN}, table 4": (
        ("wrn-40-1", ZCA, 6.85, 30.89),
        ("wrn-40-2", ZCA, 5.33, 26.04),
        ("wrn-40-4", ZCA, 4.97, 22.89),
        ("wrn-40-8", ZCA, 4.66, None),
        ("wrn-28-10", ZCA, 4.17, 20.50),
        ("wrn-28-12", ZCA, 4.33, 20.43),
        ("wrn-22-8", ZCA, 4.38, 21.22),
        ("wrn-22-10", ZCA, 4.44, 20.75),
        ("wrn-16-8", ZCA, 4.81, 22.07),
        ("wrn-16-10", ZCA, 4.56, 21.59),
    ),
    f"{WRN}, table 5": (
        ("wrn-40-4", MEAN_STD, 4.53, 21.18),
        ("wrn-16-8", MEAN_STD, 4.27, 20.43),
        ("wrn-28-10", MEAN_STD, 4.00, 19.25),
    ),
    f"{WRN}, table 6": (
        ("wrn-16-4", MEAN_STD, 5.02, 24.03),
        ("wrn-16-4", DROPOUT, 5.24, 23.91),
        ("wrn-28-10", DROPOUT, 3.89, 18.85),
        ("wrn-52-1", MEAN_STD, 6.43, 29.89),
        ("wrn-52-1", DROPOUT, 6.28, 29.78),
    ),
    WRN_README: (
        ("wrn-40-10", ONE_RUN, 3.8, 18.3),
        ("preresnet-164", MEAN_STD, 5.46, 24.33),
        ("preresnet-1001", MEAN_STD, 4.92, 22.71),
        ("nin", WHITENED, 7.4, None),
        ("vgg", WHITENED, 6.3, None),
    ),
}

# Errors in percent on SVHN; the second figure is not used.
SVHN_ERRORS: Mapping[str, tuple[Row, ...]] = {
    f"{WRN}, table 6": (
        ("wrn-16-4", SVHN, 1.85, None),
        ("wrn-16-4", SVHN_DROPOUT, 1.64, None),
        ("wrn-52-1", SVHN, 2.08, None),
        ("wrn-52-1", SVHN_DROPOUT, 1.70, None),
    ),
    WRN_README: (("wrn-16-8", SVHN_DROPOUT, 1.54, None),),
}

# Top-1 and top-5 errors in percent on ImageNet's 50,000 validation images.
IMAGENET_ERRORS: Mapping[str, tuple[Row, ...]] = {
    f"{WRN}, table 7": (
        ("resnet-18", ONE_CROP, 30.4, 10.93),
        ("wrn-18-1.5", ONE_CROP, 27.06, 9.0),
        ("wrn-18-2", ONE_CROP, 25.58, 8.06),
        ("wrn-18-3", ONE_CROP, 24.06, 7.33),
        ("resnet-34", ONE_CROP, 26.77, 8.67),
        ("wrn-34-1.5", ONE_CROP, 24.5, 7.58),
        ("wrn-34-2", ONE_CROP, 23.39, 7.00),
    ),
    WRN_PRETRAINED: (  # the README of the repository has 5.79 for wrn-50-2's top-5, which is preresnet-200's
        ("resnet-50", ONE_CROP, 24.01, 7.02),
        ("resnet-101", ONE_CROP, 22.44, 6.21),
        ("resnet-152", ONE_CROP, 22.16, 6.16),
        ("wrn-50-2", ONE_CROP, 21.9, 6.03),
        ("preresnet-200", ONE_CROP, 21.66, 5.79),
    ),
}

# Top-1 and top-5 accuracies in percent on ImageNet's 50,000 validation images.
IMAGENET_ACCURACIES: Mapping[str, tuple[Row, ...]] = {
    TORCHVISION: (
        ("resnet-18", "torchvision IMAGENET1K_V1", 69.758, 89.078),
        ("resnet-34", "torchvision IMAGENET1K_V1", 73.314, 91.420),
        ("resnet-50", "torchvision IMAGENET1K_V1", 76.130, 92.862),
        ("resnet-50", "torchvision IMAGENET1K_V2", 80.858, 95.434),
        ("resnet-101", "torchvision IMAGENET1K_V1", 77.374, 93.546),
        ("resnet-101", "torchvision IMAGENET1K_V2", 81.886, 95.780),
        ("resnet-152", "torchvision IMAGENET1K_V1", 78.312, 94.046),
        ("resnet-152", "torchvision IMAGENET1K_V2", 82.284, 96.002),
        ("wrn-50-2", "torchvision IMAGENET1K_V1", 78.468, 94.086),
        ("wrn-50-2", "torchvision IMAGENET1K_V2", 81.602, 95.758),
        ("wrn-101-2", "torchvision IMAGENET1K_V1", 78.848, 94.284),
        ("wrn-101-2", "torchvision IMAGENET1K_V2", 82.510, 96.020),
    ),
    MMPRETRAIN: (
        ("wrn-50-2", "mmpretrain wide-resnet50_3rdparty_8xb32_in1k", 78.48, 94.08),
        ("wrn-50-2", "mmpretrain wide-resnet50_3rdparty-timm_8xb32_in1k", 81.45, 95.53),
        ("wrn-101-2", "mmpretrain wide-resnet101_3rdparty_8xb32_in1k", 78.84, 94.28),
    ),
}


def _errors(tables: Mapping[str, tuple[Row, ...]], figures: tuple[str, ...]) -> Iterator[tuple[str, Accuracy]]:
    """The rows of tables of errors: each figure is the top-1 error on the data set of its column."""
    for source, rows in tables.items():
        for name, weights, *errors in rows:
            for data, error in zip(figures, errors, strict=False):
                if error is not None:
                    yield name, Accuracy(data, round(100 - error, 3), None, weights, source)


def _imagenet(tables: Mapping[str, tuple[Row, ...]], *, errors: bool) -> Iterator[tuple[str, Accuracy]]:
    """The rows of tables of top-1 and top-5 errors, or accuracies."""
    for source, rows in tables.items():
        for name, weights, *figures in rows:
            top1, top5 = (round(100 - figure, 3) if errors else figure for figure in figures if figure is not None)
            yield name, Accuracy("ImageNet", top1, top5, weights, source)


def _collected() -> dict[str, tuple[Accuracy, ...]]:
    found: dict[str, list[Accuracy]] = {}
    for name, accuracy in (
        *_errors(CIFAR_ERRORS, ("CIFAR-10", "CIFAR-100")),
        *_errors(SVHN_ERRORS, ("SVHN",)),
        *_imagenet(IMAGENET_ERRORS, errors=True),
        *_imagenet(IMAGENET_ACCURACIES, errors=False),
    ):
        found.setdefault(name, []).append(accuracy)
    return {name: tuple(one) for name, one in found.items()}


ACCURACIES: Mapping[str, tuple[Accuracy, ...]] = _collected()
