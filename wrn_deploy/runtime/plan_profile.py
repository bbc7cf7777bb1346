"""An optimization profile of a plan, and which of several profiles a batch runs on; the standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wrn_deploy.errors import DeployError

__all__ = ["PlanProfile", "choose_profile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanProfile:
    """The smallest batch, the one that the profile is tuned for, and the largest."""

    minimum: int
    optimum: int
    maximum: int


def choose_profile(profiles: Sequence[PlanProfile], batch: int) -> int:
    """The index of the profile for a batch: of those that take it, the one tuned for the nearest size.

    Raises:
        DeployError: no profile takes it.
    """
    fitting = [index for index, each in enumerate(profiles) if each.minimum <= batch <= each.maximum]
    if not fitting:
        ranges = ", ".join(f"{each.minimum} to {each.maximum}" for each in profiles)
        which = f"profile{'s' if len(profiles) > 1 else ''} ({ranges})"
        smallest = min(batch, *(each.minimum for each in profiles))
        largest = max(batch, *(each.maximum for each in profiles))
        raise DeployError(
            f"a batch of {batch} is outside the plan's {which}: send another number of images, "
            f"or build with --profile {smallest}:{batch}:{largest}"
        )
    return min(fitting, key=lambda index: abs(profiles[index].optimum - batch))
