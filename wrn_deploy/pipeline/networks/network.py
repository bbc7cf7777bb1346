"""Loads a network in PyTorch by its name, with its weights and its description, for the zoo and for `eval`."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wrn_deploy.errors import UsageError, missing_package
from wrn_deploy.models import Overrides, build_model, describe_model
from wrn_deploy.pipeline.networks.weights import LoadedWeights, WeightsRequest, load_weights
from wrn_deploy.progress import Progress, Silent

if TYPE_CHECKING:
    from torch import nn

__all__ = ["LoadedNetwork", "NetworkOptions", "load_network", "load_with_weights"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOptions:
    """Which network, with which weights, and what is changed of its description.

    Args:
        model: its name; None: the one that the weights name.
        weights: a file, or weights known by name; None: untrained.
        overrides: changes to the description.
        seed: of untrained weights, 0 to 2**63 - 1.
        key: which state dict of the file, if it has several.
    """

    model: str | None = None
    weights: str | os.PathLike[str] | None = None
    overrides: Overrides = field(default_factory=Overrides)
    seed: int = 0
    key: str = ""

    def __post_init__(self) -> None:
        if self.model is None and self.weights is None:
            raise UsageError("neither a network nor weights: expected the name of a network, weights, or both")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed {self.seed}: expected 0 to 2**63 - 1")


@dataclass(frozen=True, slots=True)
class LoadedNetwork:
    """A network in eval mode with its description as the attribute `spec`, and its weights; None if it is untrained."""

    network: nn.Module
    weights: LoadedWeights | None


def load_network(options: NetworkOptions, progress: Progress | None = None) -> nn.Module:
    """The network alone of `load_with_weights`."""
    return load_with_weights(options, Silent() if progress is None else progress).network


def load_with_weights(options: NetworkOptions, progress: Progress) -> LoadedNetwork:
    """The network, with its weights if any are given.

    Example:
        >>> loaded = load_with_weights(NetworkOptions(model="wrn-16-2", seed=1), Silent())
        >>> loaded.network.spec.classes
        10

    Raises:
        UsageError: no network is given and the file does not name one; or the file has no state dict of that key.
        DeployError: no such network or weights, or they do not fit each other.
        MachineError: torch, safetensors, or the package that downloads the weights is missing.
    """
    if importlib.util.find_spec("safetensors") is None:
        raise missing_package("safetensors", "export", "loading weights")
    usual = None if options.model is None else describe_model(options.model)  # says what is missing before torch is
    import torch

    from wrn_deploy.models.checkpoints.weights import apply_match

    loaded = None
    if options.weights is not None:
        request = WeightsRequest(
            model=options.model, weights=os.fspath(options.weights), key=options.key, overrides=options.overrides
        )
        loaded = load_weights(request, progress)
        spec = loaded.spec
    else:
        assert usual is not None
        spec = options.overrides.apply(usual)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        network = build_model(spec)
    if loaded is not None:
        apply_match(network, loaded.match)
    network.__dict__["spec"] = spec  # a plain attribute: no part of the state dict, and known to copies and pickles
    return LoadedNetwork(network.eval(), loaded)
