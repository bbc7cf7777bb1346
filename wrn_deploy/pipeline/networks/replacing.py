"""What an export may replace in a folder without `--replace`, and what is stale after it."""

from __future__ import annotations

from pathlib import Path

from wrn_deploy.bundle import Bundle
from wrn_deploy.errors import DeployError, StaleArtifact, UsageError
from wrn_deploy.formatting import count
from wrn_deploy.progress import Progress
from wrn_deploy.spec import ModelSpec

__all__ = ["check_replaced", "warn_of_stale"]


def check_replaced(folder: Path, spec: ModelSpec, *, random_weights: bool) -> None:
    """Checks that the folder holds no bundle of another network than `spec`, nor trained weights if these are random.

    Other weights of the same network replace the old ones: that is what a second export is for. So does any export a
    damaged bundle, which it repairs.

    Raises:
        UsageError: it does; the text says what it holds.
    """
    try:
        there = Bundle.open(folder)
    except DeployError:
        return
    remedy = "choose another --out, or pass --replace"
    if _network(there.spec) != _network(spec):
        held = f"{there.spec.name} ({there.spec.classes} classes, {count(len(there.artifacts), 'artifact')})"
        raise UsageError(
            f"{folder} contains a bundle of {held}: expected one of {spec.name} ({spec.classes} classes); {remedy}"
        )
    if random_weights and not there.random_weights:
        raise UsageError(
            f"{folder} contains weights of {spec.name} that are not random: expected random ones; {remedy}"
        )


def warn_of_stale(bundle: Bundle, progress: Progress) -> None:
    """Warns of the artifacts that were made from weights or graphs which an export has replaced."""
    stale = []
    for key in bundle.artifacts:
        try:
            bundle.find(key)
        except StaleArtifact:
            stale.append(key)
        except DeployError:  # damaged: for whoever needs it
            continue
    if stale:
        progress.warn(f"{bundle.folder}: made from files that are now replaced, so make them again: {', '.join(stale)}")


def _network(spec: ModelSpec) -> tuple[object, ...]:
    """What makes two descriptions ones of the same network, whatever its weights, its images and its interface."""
    return spec.name, spec.family, spec.depth, spec.widen, spec.classes, spec.whitening is not None
