"""Loads a checkpoint into a network in one step; the pipeline matches first, on a network without values."""

from __future__ import annotations

from torch import nn

from wrn_deploy.models.checkpoints.match import Match
from wrn_deploy.models.checkpoints.weights import Checkpoint, apply_match, match_weights
from wrn_deploy.spec import ModelSpec

__all__ = ["fit_weights"]


def fit_weights(network: nn.Module, checkpoint: Checkpoint, spec: ModelSpec, key: str = "") -> Match:
    """Loads the checkpoint in fp32 and returns what was taken; an error leaves the network as it is."""
    match = match_weights(checkpoint, spec, key)
    apply_match(network, match)
    return match
