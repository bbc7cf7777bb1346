"""What papers and model zoos publish of the networks: sizes and accuracies, read from `published.toml`; no torch."""

from __future__ import annotations

import functools
import math
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from wrn_deploy.errors import DeployError

__all__ = [
    "Count", "Published", "PublishedAccuracy", "Quantity", "macs_text", "parse_published", "percent_text",
    "read_published",
]  # fmt: skip

FILE = Path(__file__).with_name("published.toml")
SCALES = {"M": 10**6, "G": 10**9}


class Quantity(StrEnum):
    """What a count counts."""

    PARAMETERS = "parameters"
    WEIGHTS = "weights"  # the parameters without those of BN
    MACS = "macs"  # multiply-accumulates of Conv and Linear layers for one image
    OPERATIONS = "operations"  # MACs, and what mmcv's counter adds for BN, ReLU and pooling


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

    @property
    def text(self) -> str:
        """The number as published, as in "68,883,240", "68.9 M" and "11.40 G"."""
        if self.unit == 1:
            return f"{self.value:,}"
        letter = "G" if self.value >= SCALES["G"] else "M"
        decimals = max(0, round(math.log10(SCALES[letter] / self.unit)))
        return f"{self.value / SCALES[letter]:.{decimals}f} {letter}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedAccuracy:
    """A published accuracy: `top1` and `top5` in percent of images; where errors are published, 100 minus the error.

    `weights` says how the weights were made: which recipe, preprocessing or file.
    """

    data: str
    top1: float
    top5: float | None
    weights: str
    source: str

    def __post_init__(self) -> None:
        if not 0 < self.top1 < (100 if self.top5 is None else self.top5) <= 100:
            raise ValueError(f"top-1 {self.top1} and top-5 {self.top5} on {self.data}: expected percent in this order")


@dataclass(frozen=True, slots=True)
class Published:
    """What is published of one network, each figure with its source."""

    counts: tuple[Count, ...] = ()
    accuracies: tuple[PublishedAccuracy, ...] = ()

    def exact(self, quantity: Quantity) -> Count | None:
        """The most exact count of a quantity; None if none is published."""
        found = [count for count in self.counts if count.quantity is quantity]
        return min(found, key=lambda count: count.unit, default=None)

    def best(self, data: str) -> PublishedAccuracy | None:
        """The highest top-1 on a data set, as in "CIFAR-10"; None if none is published."""
        found = [accuracy for accuracy in self.accuracies if accuracy.data == data]
        return max(found, key=lambda accuracy: accuracy.top1, default=None)


@functools.cache
def read_published() -> Mapping[str, Published]:
    """What is published, by the name of the network; raises DeployError if the file is damaged."""
    try:
        return parse_published(FILE.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DeployError(f"{FILE} cannot be read ({error}): install wrn-deploy again") from error


def parse_published(text: str) -> dict[str, Published]:
    """Reads the tables in the order of the file; raises ValueError for anything that `published.toml` does not have."""
    tables = tomllib.loads(text)
    counts: dict[str, list[Count]] = defaultdict(list)
    accuracies: dict[str, list[PublishedAccuracy]] = defaultdict(list)
    try:
        for table in tables.pop("counts"):
            for name, figure in table["networks"].items():
                value, unit = (figure, 1) if isinstance(figure, int) else _rounded(figure)
                counts[name].append(Count(Quantity(table["quantity"]), value, unit, table["source"]))
        for kind in ("errors", "accuracies"):
            for table in tables.pop(kind):
                for name, accuracy in _accuracies(table, errors=kind == "errors"):
                    accuracies[name].append(accuracy)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a table is not as expected: {error!r}") from error
    if tables:
        raise ValueError(f"unknown tables {', '.join(tables)}: expected counts, errors and accuracies")
    return {name: Published(tuple(counts[name]), tuple(accuracies[name])) for name in {**accuracies, **counts}}


def macs_text(macs: int) -> str:
    """As in "101.1 M" and "11.40 G"."""
    return f"{macs / SCALES['G']:.2f} G" if macs >= SCALES["G"] else f"{macs / SCALES['M']:.1f} M"


def percent_text(value: float) -> str:
    """Two decimals, or three where they were published: "96.11 %", "78.468 %"."""
    return f"{value:.3f}".removesuffix("0") + " %"


def _rounded(text: str) -> tuple[int, int]:
    """The value and its unit of a rounded number: "36.5 M" -> (36_500_000, 100_000)."""
    match = re.fullmatch(r"(\d+)\.(\d+) ([MG])", text)
    if match is None:
        raise ValueError(f"{text!r}: expected a number such as '36.5 M'")
    unit: int = SCALES[match[3]] // 10 ** len(match[2])
    return int(match[1] + match[2]) * unit, unit


def _accuracies(table: dict[str, Any], *, errors: bool) -> Iterator[tuple[str, PublishedAccuracy]]:
    """The figures of each row: top-1 on each data set; with `top5`, top-1 and top-5 on each."""
    width = 2 if table.get("top5", False) else 1
    for name, figures in table["networks"].items():
        percent = [round(100 - figure, 3) if errors else float(figure) for figure in figures]
        if not percent or len(percent) % width or len(percent) > width * len(table["data"]):
            raise ValueError(f"{name} has {len(percent)} figures: expected {width} for each of {table['data']}")
        for data, first in zip(table["data"], range(0, len(percent), width), strict=False):
            top5 = percent[first + 1] if width == 2 else None
            made = {"weights": table["weights"], "source": table["source"]}
            yield name, PublishedAccuracy(data=data, top1=percent[first], top5=top5, **made)
