"""Defines what guards check and the warnings they give, and runs them; loads neither numpy nor onnx by itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING

from wrn_deploy.formatting import count
from wrn_deploy.plugins import load_plugin, plugin_names
from wrn_deploy.progress import Progress

if TYPE_CHECKING:
    import onnx_ir as ir

    from wrn_deploy.calib.collection.ranges import Range, Threshold
    from wrn_deploy.calib.collection.table import CalibrationTable

__all__ = [
    "Calibrated", "CalibrationWarning", "GuardLimits", "count_others", "join_names", "load_guards", "report_warnings",
    "run_guards",
]  # fmt: skip

GUARDS = "wrn_deploy.calib.guards"
SHOWN = 3  # names that a text lists


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationWarning:
    """One guard's warning; `dataclasses.asdict` gives what JSON can hold."""

    id: str  # the guard's, never reused; docs/reference/guards.md explains it
    names: tuple[str, ...]  # the tensors, layers or files concerned, the worst first
    numbers: Mapping[str, float]  # the measured values, and the limit that they exceed
    found: str  # one fact: what the guard found, with the values
    remedy: str  # one action, with an option that is not in use yet

    @property
    def text(self) -> str:
        """At most two lines of a terminal of 100 columns."""
        return f"{self.found}: {self.remedy} [{self.id}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardLimits:
    """The values at which the guards warn; docs/reference/guards.md has the measurements behind them."""

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
    equalized: bool  # whether --equalize was on, even if it found nothing to change
    available: int  # the number of images in the data, of which `table.images` were used
    float_convs: Collection[str] = ()  # the Convs that stay in float, and so read nothing in int8
    limits: GuardLimits = field(default_factory=GuardLimits)

    def scale(self, tensor: str) -> float:
        """The int8 scale of `tensor`, which must be one that a placement quantizes."""
        from wrn_deploy.calib.placement import range_source

        return self.table[range_source(self.graph, tensor)].scale_to(127.0)

    def range(self, tensor: str) -> Range | None:
        """The range of `tensor`; None if none was collected."""
        from wrn_deploy.calib.placement import range_source

        return self.ranges.get(range_source(self.graph, tensor))

    def resolution_remedy(self, tensors: Iterable[str]) -> str:
        """How to give `tensors` more int8 steps: by equalisation, if it was off and can change them, else by `tune`."""
        from wrn_deploy.calib.equalization.channels import channel_classes

        if not self.equalized and not channel_classes(self.graph).keys().isdisjoint(tensors):
            return "calibrate with --equalize"
        return "keep such Convs in fp16 with `wrn-deploy tune`"


def load_guards() -> list[ModuleType]:
    """Returns all guards, by id."""
    return sorted((load_plugin(GUARDS, name) for name in plugin_names(GUARDS)), key=lambda guard: str(guard.ID))


def run_guards(calibrated: Calibrated) -> list[CalibrationWarning]:
    """Runs every guard; returns at most one warning from each, by id, and an empty list for a healthy network."""
    warnings = (guard.check(calibrated) for guard in load_guards())
    return [warning for warning in warnings if warning is not None]


def join_names(names: Sequence[str]) -> str:
    """The first names, as in "a, b, c and 4 more"."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def count_others(tensors: Sequence[str]) -> str:
    """The number of tensors behind the first, as in " (4 more tensors)"; empty if there is none."""
    return f" ({count(len(tensors) - 1, 'more tensor')})" if len(tensors) > 1 else ""


def report_warnings(warnings: Iterable[CalibrationWarning], progress: Progress) -> None:
    """Prints each warning through `progress`."""
    for warning in warnings:
        progress.warn(warning.text)
