"""A network in PyTorch by its name, with its weights and its description: what the zoo and `eval` of weights open."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wrn_deploy.errors import UsageError, missing_package
from wrn_deploy.models import Overrides, build_model, describe_model
from wrn_deploy.pipeline.networks.weights import Taken, Wanted, take_weights
from wrn_deploy.progress import Progress, Silent

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Loaded", "NetworkOptions", "load_network", "load_with_weights"]


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """Which network, with which weights, and what is changed of its description.

    Args:
        model: its name; None: the one that the weights say they are of.
        weights: a file, or weights known by name; None: untrained.
        overrides: changes to the description.
        seed: of untrained weights.
        key: which state dict of the file, where it has several.
    """

    model: str | None
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
class Loaded:
    """A network in eval mode, whose attribute `spec` is its description, and its weights; None: it is untrained."""

    network: nn.Module
    weights: Taken | None


def load_network(options: NetworkOptions, progress: Progress | None = None) -> nn.Module:
    """The network alone of `load_with_weights`."""
    return load_with_weights(options, Silent() if progress is None else progress).network


def load_with_weights(options: NetworkOptions, progress: Progress) -> Loaded:
    """The network, with its weights where some are named.

    Raises:
        UsageError: a file that does not say what it is of, without a name; or no state dict of that key in it.
        DeployError: no such network or weights, or they do not fit each other.
        MachineError: torch or safetensors is missing, or what downloads the weights.
    """
    if importlib.util.find_spec("safetensors") is None:
        raise missing_package("safetensors", "export", "loading weights")
    usual = None if options.model is None else describe_model(options.model)  # says what is missing before torch is
    import torch

    from wrn_deploy.models.checkpoints.weights import fit_weights

    taken = None
    if options.weights is not None:
        wanted = Wanted(options.model, os.fspath(options.weights), options.key, options.overrides)
        taken = take_weights(wanted, progress)
        spec = taken.spec
    else:
        assert usual is not None
        spec = options.overrides.apply(usual)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        network = build_model(spec)
    if taken is not None:
        fit_weights(network, taken.checkpoint, spec, taken.key)
    network.__dict__["spec"] = spec  # a plain attribute: no part of the state dict, and known to copies and pickles
    return Loaded(network.eval(), taken)
