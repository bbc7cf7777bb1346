"""Runs every guard over a calibration; the guards are the files of `guards/`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import ModuleType

import onnx_ir as ir

from wrn_deploy.calib.caution import Caution
from wrn_deploy.calib.collection.ranges import Histogram, Range
from wrn_deploy.calib.collection.table import CalibrationTable
from wrn_deploy.calib.placement import range_source
from wrn_deploy.plugins import load_plugin, plugin_names

__all__ = ["Calibrated", "Limits", "guard_calibration", "load_guards"]

GUARDS = "wrn_deploy.calib.guards"


@dataclass(frozen=True, slots=True)
class Limits:
    """Where each guard starts to warn; docs/guards.md has the measurements behind these numbers.

    Args:
        steps: int8 steps that the typical reader of a tensor must find in it, of 127.
        own_noise: the rounding noise in a channel, as a share of what the channel spans.
        layer_noise: the same noise, as a share of what its layer's typical channel spans.
        gain: how far that first share stands out, in units of its median over the layer.
        spread: by how much the thresholds of the two halves of the images differ, as a share; median over tensors.
        clipped: the share of a tensor's values other than zero that lie above its threshold.
    """

    steps: float = 8.0
    own_noise: float = 0.25
    layer_noise: float = 0.1
    gain: float = 10.0
    spread: float = 0.15
    clipped: float = 0.01


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What the guards look at.

    Args:
        graph: the fp32 graph that was calibrated and is quantized (the equalised one, where it was equalised).
        ranges: what `collect_ranges` gave for it.
        table: the thresholds chosen, and the number of images.
        threshold: the method with its options, (histogram, amax) -> threshold.
        float_convs: the Convs that stay in float: nothing is read in int8 there.
        limits: where each guard starts to warn.
    """

    graph: ir.Graph
    ranges: Mapping[str, Range]
    table: CalibrationTable
    threshold: Callable[[Histogram | None, float], float]
    float_convs: Collection[str] = ()
    limits: Limits = field(default_factory=Limits)

    def step(self, tensor: str) -> float:
        """The value of one int8 step of `tensor`, which a placement quantizes."""
        return self.table[range_source(self.graph, tensor)].symmetric_scale

    def range(self, tensor: str) -> Range | None:
        """The range of `tensor`; None where none was collected."""
        return self.ranges.get(range_source(self.graph, tensor))


def load_guards() -> list[ModuleType]:
    """The guards, by their ids."""
    return sorted((load_plugin(GUARDS, name) for name in plugin_names(GUARDS)), key=lambda guard: str(guard.ID))


def guard_calibration(seen: Calibrated) -> list[Caution]:
    """What every guard warns of, at most one warning each, by id; an empty list for a healthy network."""
    cautions = (guard.look(seen) for guard in load_guards())
    return [caution for caution in cautions if caution is not None]
