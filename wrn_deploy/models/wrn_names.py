"""Parses names such as wrn-28-10, and decides which of the paper's two kinds of network a name means; no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from wrn_deploy.errors import DeployError

__all__ = ["WrnKind", "WrnName", "check_wrn_name", "read_wrn_name"]

# The one depth at which both kinds exist: 34 = 6 * 5 + 4. These widths are the paper's ImageNet networks (table 7;
# wrn-34-2 is also its detector's backbone); the others are CIFAR's, as wrn-34-10 of adversarial training.
SHARED_DEPTH = 34
IMAGENET_WIDTHS = (1.0, 1.5, 2.0)
IMAGENET_DEPTHS = (18, 50, 101)  # none is 6n+4
BOTTLENECK_DEPTHS = (50, 101)  # ImageNet depths with a single width: for another the error suggests near names


class WrnKind(StrEnum):
    """The kind of network, as in the ending of wrn-34-10-imagenet."""

    CIFAR = "cifar"
    IMAGENET = "imagenet"


@dataclass(frozen=True, slots=True)
class WrnName:
    """A name in parts: d and k of WRN-d-k, and its kind, even if the name leaves it out."""

    depth: int
    widen: float
    kind: WrnKind

    def __str__(self) -> str:
        """The shortest name of this network."""
        ending = "" if self.kind is _usual_kind(self.depth, self.widen) else f"-{self.kind}"
        return f"wrn-{self.depth}-{self.widen:g}{ending}"


def read_wrn_name(name: str) -> WrnName | None:
    """The parts of `wrn-<depth>-<widen>`, with or without `-cifar` or `-imagenet`; None for other names."""
    match = re.fullmatch(r"wrn-(\d{1,4})-(\d{1,4}(?:\.\d{1,3})?)(?:-(cifar|imagenet))?", name)
    if match is None:
        return None
    depth, number = int(match[1]), float(match[2])
    widen = int(number) if number.is_integer() else number
    return WrnName(depth, widen, WrnKind(match[3]) if match[3] else _usual_kind(depth, widen))


def check_wrn_name(found: WrnName, name: str) -> None:
    """Checks that the network called `name` can be built, as far as depth and width of CIFAR's kind say.

    Raises:
        DeployError: an impossible depth or width.
    """
    depth, widen = found.depth, found.widen
    if found.kind is WrnKind.IMAGENET and depth not in BOTTLENECK_DEPTHS:
        return
    if found.kind is WrnKind.IMAGENET or depth < 10 or (depth - 4) % 6 != 0 or widen < 1 or widen != int(widen):
        below, near = max(10, depth - (depth - 4) % 6), max(1, int(widen))
        raise DeployError(
            f"{name} cannot be built: expected a depth of 6n+4 and an integer widening factor from 1, "
            f"such as wrn-{below}-{near} or wrn-{below + 6}-{near}; or an ImageNet network: wrn-18-k, wrn-34-k (k 1, "
            "1.5 or 2; for another one, wrn-34-k-imagenet), wrn-50-2 or wrn-101-2"
        )


def _usual_kind(depth: int, widen: float) -> WrnKind:
    shared = depth == SHARED_DEPTH and widen in IMAGENET_WIDTHS
    return WrnKind.IMAGENET if shared or depth in IMAGENET_DEPTHS else WrnKind.CIFAR
