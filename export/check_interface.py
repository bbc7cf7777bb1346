"""Checks a graph with an interface numerically: what it gives, against what the network computes in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wrn_deploy.errors import GateError
from wrn_deploy.export.check import REMEDY, TOLERANCES
from wrn_deploy.spec import Precision

__all__ = ["Computed", "OutputParity", "check_outputs"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Computed:
    """What PyTorch computes of a batch: `logits` (N, classes), `features` (N, F), the classifier's input, and maps.

    `maps` are the feature maps, (N, C, h, w), each of another resolution.
    """

    logits: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32]
    maps: tuple[npt.NDArray[np.float32], ...] = ()


@dataclass(frozen=True, slots=True)
class OutputParity:
    """How far one output is from the network on one batch: `max_abs` in its units, beside the largest magnitude."""

    output: str
    batch: int
    max_abs: float
    largest: float


def check_outputs(
    graph: Callable[[Array], Mapping[str, Array]], batches: Sequence[tuple[Array, Computed]], precision: Precision
) -> list[OutputParity]:
    """Runs the graph on each batch and compares every output.

    The top logits are compared with the network's best ones, and with the network's logits of the classes that are
    named, of which none may be named twice: where two logits are nearly equal, either order is right.

    Args:
        graph: from what the graph takes to its outputs by name, in ONNX Runtime.
        batches: what the graph takes, and what PyTorch computes of the same images.
        precision: which tolerance holds; that of the largest error alone.

    Raises:
        GateError: not within the tolerance; the text has the figures.
    """
    found = []
    for images, computed in batches:
        for name, wanted, got in _pairs(computed, graph(images)):
            error = float(np.abs(wanted.astype(np.float64) - got).max())
            parity = OutputParity(name, len(images), error, float(np.abs(wanted).max()))
            limit = TOLERANCES[precision].relative
            if not error <= limit * max(parity.largest, 1e-6):
                raise GateError(
                    f"the {precision} graph does not give PyTorch's {name} at batch {parity.batch}: largest error "
                    f"{error:.3g} on values up to {parity.largest:.3g} (expected at most {limit:g} of that). {REMEDY}"
                )
            found.append(parity)
    return found


def _pairs(computed: Computed, given: Mapping[str, Array]) -> list[tuple[str, Array, Array]]:
    """Name, wanted and found values of each output; the classes are looked up in the network's logits."""
    pairs: list[tuple[str, Array, Array]] = []
    if "logits" in given:
        pairs.append(("logits", computed.logits, given["logits"]))
    if "top_classes" in given:
        top, classes = given["top_logits"], given["top_classes"]
        best = -np.sort(-computed.logits, axis=1)[:, : classes.shape[1]]
        pairs.append(("top_logits", best, top))
        ordered = np.sort(classes, axis=1)
        if (ordered[:, 1:] == ordered[:, :-1]).any() or classes.min() < 0 or classes.max() >= computed.logits.shape[1]:
            raise GateError(f"the graph's top classes are {classes.tolist()}: expected different ones. {REMEDY}")
        pairs.append(("top_classes", np.take_along_axis(computed.logits, classes, axis=1), top))
    if "features" in given:
        pairs.append(("features", computed.features, given["features"]))
    of_size = {values.shape[2:]: values for values in computed.maps}
    pairs += [(name, of_size[got.shape[2:]], got) for name, got in given.items() if name.startswith("feature_map_")]
    return pairs
