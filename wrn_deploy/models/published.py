"""What papers and model zoos publish of the networks: sizes and accuracies, each with its source; pure data.

The tests count each network and compare; `wrn-deploy models` and the documents show these figures. No torch import.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from wrn_deploy.models.published_accuracies import ACCURACIES, Accuracy

__all__ = ["PUBLISHED", "Accuracy", "Count", "Published", "Quantity"]


class Quantity(StrEnum):
    """What a count counts."""

    PARAMETERS = "parameters"
    WEIGHTS = "weights"  # the parameters without those of BN
    MACS = "macs"  # multiply-accumulates of Conv and Linear layers for one image
    OPERATIONS = "operations"  # those and what mmcv's counter adds for BN, ReLU and pooling


@dataclass(frozen=True, slots=True)
class Count:
    """A published count: `value`, rounded to whole multiples of `unit`."""

    quantity: Quantity
    value: int
    unit: int
    source: str

    def agrees(self, counted: int) -> bool:
        """Whether `counted`, rounded as published, is the published number."""
        return abs(counted - self.value) * 2 <= self.unit


@dataclass(frozen=True, slots=True)
class Published:
    """What is published of one network, each figure with its source; the accuracies of one data set together."""

    counts: tuple[Count, ...] = ()
    accuracies: tuple[Accuracy, ...] = ()

    def exact(self, quantity: Quantity) -> Count | None:
        """The most exact count of a quantity, or None where none is published."""
        found = [count for count in self.counts if count.quantity is quantity]
        return min(found, key=lambda count: count.unit, default=None)


WRN = "Zagoruyko and Komodakis, Wide Residual Networks, arXiv:1605.07146v4"
WRN_LOGS = "github.com/szagoruyko/wide-residual-networks, logs"
IDENTITY = "He et al., Identity Mappings in Deep Residual Networks, arXiv:1603.05027"
TORCHVISION = "pytorch.org/vision, table of all available classification weights"
MMPRETRAIN = "github.com/open-mmlab/mmpretrain, configs/{}/README.md"
IMGCLSMOB = "github.com/osmr/imgclsmob, pytorch/README.md"

MILLION, BILLION = 10**6, 10**9

# Name: parameters in tenths of a million, and the table of the paper.
PAPER = {
    "wrn-16-8": (110, "table 4"),
    "wrn-16-10": (171, "table 4"),
    "wrn-22-8": (172, "table 4"),
    "wrn-22-10": (268, "table 4"),
    "wrn-28-10": (365, "table 4"),
    "wrn-28-12": (525, "table 4"),
    "wrn-40-1": (6, "table 4"),
    "wrn-40-2": (22, "table 4"),
    "wrn-40-4": (89, "table 4"),
    "wrn-40-8": (357, "table 4"),
    "resnet-18": (117, "table 7"),
    "wrn-18-1.5": (259, "table 7"),
    "wrn-18-2": (456, "table 7"),
    "wrn-18-3": (1018, "table 7"),
    "resnet-34": (218, "table 7"),
    "wrn-34-1.5": (486, "table 7"),
    "wrn-34-2": (860, "table 7"),
    "resnet-50": (256, "table 8"),
    "resnet-101": (445, "table 8"),
    "resnet-152": (602, "table 8"),
    "wrn-50-2": (689, "table 8"),
    "preresnet-200": (647, "table 8"),
    "preresnet-164": (17, "table 5"),
}

# Name: parameters, and multiply-accumulates (which it calls GFLOPS) in hundredths of a billion.
ZOO = {
    "resnet-18": (11_689_512, 181),
    "resnet-34": (21_797_672, 366),
    "resnet-50": (25_557_032, 409),
    "resnet-101": (44_549_160, 780),
    "resnet-152": (60_192_808, 1151),
    "wrn-50-2": (68_883_240, 1140),
    "wrn-101-2": (126_886_696, 2275),
}

# Name: folder of mmpretrain's configs, parameters in hundredths of a million, "Flops" in hundredths of a billion.
MM = {
    "resnet-18": ("resnet", 1169, 182),
    "resnet-34": ("resnet", 2180, 368),
    "resnet-50": ("resnet", 2556, 412),
    "resnet-101": ("resnet", 4455, 785),
    "resnet-152": ("resnet", 6019, 1158),
    "wrn-50-2": ("wrn", 6888, 1144),
    "wrn-101-2": ("wrn", 12689, 2281),
}

# Exact counts of single networks, where the tables above have none.
EXACT = {
    "wrn-16-10": (17_116_634, IMGCLSMOB),
    "wrn-28-10": (36_479_194, IMGCLSMOB),
    "wrn-40-4": (8_949_210, WRN_LOGS),
    "wrn-40-8": (35_748_314, IMGCLSMOB),
    "preresnet-50": (25_549_480, IMGCLSMOB),
    "preresnet-101": (44_541_608, IMGCLSMOB),
    "preresnet-152": (60_185_256, IMGCLSMOB),
    "preresnet-200": (64_666_280, IMGCLSMOB),
    "preresnet-164": (1_703_258, WRN_LOGS),
    "preresnet-1001": (10_327_706, IMGCLSMOB),
    "nin": (1_007_242, WRN_LOGS),
    "vgg": (20_035_018, WRN_LOGS),
}


def _counts(name: str) -> tuple[Count, ...]:
    found = []
    if name in PAPER:
        tenths, table = PAPER[name]
        found.append(Count(Quantity.PARAMETERS, tenths * MILLION // 10, MILLION // 10, f"{WRN}, {table}"))
    if name == "preresnet-1001":  # with its BN it has 10.3 M
        found.append(Count(Quantity.WEIGHTS, 102 * MILLION // 10, MILLION // 10, f"{IDENTITY}; {WRN}, table 5"))
    if name in ZOO:
        exact, hundredths = ZOO[name]
        found += [
            Count(Quantity.PARAMETERS, exact, 1, TORCHVISION),
            Count(Quantity.MACS, hundredths * BILLION // 100, BILLION // 100, TORCHVISION),
        ]
    if name in EXACT:
        found.append(Count(Quantity.PARAMETERS, EXACT[name][0], 1, EXACT[name][1]))
    if name in MM:
        folder, parameters, operations = MM[name]
        source = MMPRETRAIN.format(folder)
        found += [
            Count(Quantity.PARAMETERS, parameters * MILLION // 100, MILLION // 100, source),
            Count(Quantity.OPERATIONS, operations * BILLION // 100, BILLION // 100, source),
        ]
    return tuple(found)


PUBLISHED: Mapping[str, Published] = {
    name: Published(_counts(name), ACCURACIES.get(name, ()))
    for name in dict.fromkeys([*ACCURACIES, *PAPER, *ZOO, *MM, *EXACT])
}
