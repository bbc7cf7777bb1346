"""Runs every guard on a calibration; each file of `guards/` is a guard."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import ModuleType

import onnx_ir as ir

from wrn_deploy.calib.collection.ranges import Range, Threshold
from wrn_deploy.calib.collection.table import CalibrationTable
from wrn_deploy.calib.placement import range_source
from wrn_deploy.calib.warning import CalibrationWarning
from wrn_deploy.plugins import load_plugin, plugin_names

__all__ = ["Calibrated", "Limits", "load_guards", "run_guards"]

GUARDS = "wrn_deploy.calib.guards"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The values at which the guards warn; docs/guards.md has the measurements behind them."""

    steps: float = 8.0  # the fewest int8 steps, of 127, that a tensor may leave to the typical output of a Conv
    own_noise: float = 0.25  # the rounding noise in a channel, as a fraction of the channel's range
    layer_noise: float = 0.1  # the same noise, as a fraction of the median range of the layer's channels
    gain: float = 10.0  # the first fraction, in units of its median over the layer
    spread: float = 0.15  # the relative difference of the thresholds of both halves of the images, median over tensors
    clipped: float = 0.01  # the fraction of a tensor's nonzero values above its threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """A calibration, as the guards check it."""

    graph: ir.Graph  # the fp32 graph that was calibrated and is quantized, equalised if that was done
    ranges: Mapping[str, Range]  # from `collect_ranges`
    table: CalibrationTable
    threshold: Threshold
    float_convs: Collection[str] = ()  # the Convs that stay in float, and so read nothing in int8
    limits: Limits = field(default_factory=Limits)

    def scale(self, tensor: str) -> float:
        """The int8 scale of `tensor`, which must be one that a placement quantizes."""
        return self.table[range_source(self.graph, tensor)].scale_to(127.0)

    def range(self, tensor: str) -> Range | None:
        """The range of `tensor`; None if none was collected."""
        return self.ranges.get(range_source(self.graph, tensor))


def load_guards() -> list[ModuleType]:
    """Returns all guards, by id."""
    return sorted((load_plugin(GUARDS, name) for name in plugin_names(GUARDS)), key=lambda guard: str(guard.ID))


def run_guards(calibrated: Calibrated) -> list[CalibrationWarning]:
    """Runs every guard; returns at most one warning from each, by id, and an empty list for a healthy network."""
    warnings = (guard.check(calibrated) for guard in load_guards())
    return [warning for warning in warnings if warning is not None]
