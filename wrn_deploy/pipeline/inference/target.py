"""What `eval` and `predict` are about: the folder of a bundle; or weights alone, which PyTorch runs without one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.models import Overrides
from wrn_deploy.models.checkpoints.sources import read_sources
from wrn_deploy.pipeline.networks.network import NetworkOptions
from wrn_deploy.plugins import near_names

__all__ = ["Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """A bundle or weights, as they are named on the command line.

    Args:
        path: the folder of a bundle; or a file of weights, or the name of published ones.
        model: the name of the weights' network; None: a bundle, or weights that say it themselves.
        overrides: changes to the description of the weights' network.
        key: which state dict of the weights' file, where it has several.

    Raises:
        UsageError: a network, or changes, for a bundle.
        DeployError: there is nothing at the path, and no weights are known by that name.
    """

    path: Path
    model: str | None = None
    overrides: Overrides = field(default_factory=Overrides)
    key: str = ""

    def __post_init__(self) -> None:
        name, known = str(self.path), read_sources()
        if not self.path.exists() and name not in known:
            raise DeployError(
                f"there is nothing at {name}{near_names(name, list(known))}: expected the folder of a bundle, which "
                "`wrn-deploy export` makes, or weights: a file, or known by name"
            )
        if self.path.is_dir() and (self.model is not None or self.overrides != Overrides() or self.key):
            raise UsageError(
                f"{self.path} is a folder, and a bundle's network and preprocessing are kept in it: expected no "
                "--model, --classes, --labels, --mean, --std, --resize or --weights-key; they are for weights"
            )

    @property
    def is_bundle(self) -> bool:
        """Whether it is a folder."""
        return self.path.is_dir()

    @property
    def network(self) -> NetworkOptions:
        """The network of the weights."""
        return NetworkOptions(model=self.model, weights=self.path, overrides=self.overrides, key=self.key)
