"""A network in PyTorch by its name, with its weights and its description: what the zoo and `eval` of weights open."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from wrn_deploy.errors import DeployError, UsageError, missing_package
from wrn_deploy.models import Overrides, build_model, describe_model

if TYPE_CHECKING:
    from torch import nn

__all__ = ["NetworkOptions", "load_network"]


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """Which network, with which weights, and what is changed of its description.

    Args:
        model: its name; None: the one that the weights say they are of.
        weights: a file, or weights known by name; None: untrained.
        overrides: changes to the description.
        seed: of untrained weights.
    """

    model: str | None
    weights: str | os.PathLike[str] | None = None
    overrides: Overrides = field(default_factory=Overrides)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.model is None and self.weights is None:
            raise UsageError("neither a network nor weights: expected the name of a network, weights, or both")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed {self.seed}: expected 0 to 2**63 - 1")


def load_network(options: NetworkOptions) -> nn.Module:
    """The network in eval mode; its attribute `spec` is its description.

    Raises:
        DeployError: no such network or weights, or they do not fit each other; a file that does not say what it is of,
            without a name.
        MachineError: torch or safetensors is missing.
    """
    if importlib.util.find_spec("safetensors") is None:
        raise missing_package("safetensors", "export", "loading weights")
    if options.model is not None:
        describe_model(options.model)  # says what is missing before torch is imported
    import torch

    from wrn_deploy.models.weights import fit_weights, read_weights

    checkpoint = None if options.weights is None else read_weights(Path(options.weights))
    own = None if checkpoint is None else checkpoint.spec
    if own is None and options.model is None:
        raise UsageError(f"{options.weights} does not say which network it is of: expected --model, as in wrn-16-2")
    spec = describe_model(options.model) if options.model is not None else own
    assert spec is not None
    if own is not None:
        if own.name != spec.name:
            raise DeployError(f"{options.weights} holds {own.name}: expected {spec.name}; load it by its own name")
        spec = own
    spec = options.overrides.apply(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        network = build_model(spec)
    if checkpoint is not None:
        fit_weights(network, checkpoint, spec)
    network.__dict__["spec"] = spec  # a plain attribute: no part of the state dict, and known to copies and pickles
    return network.eval()
