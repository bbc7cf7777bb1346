"""Splits a network of any family into a view without its classifier, which outputs the features; torch only."""

from __future__ import annotations

import copy

from torch import nn

from wrn_deploy.models import classifier_of

__all__ = ["split_classifier"]


def split_classifier(network: nn.Module) -> tuple[nn.Module, nn.Linear]:
    """The part before the classifier, images -> features, and the classifier, features -> logits.

    Both share the weights of the network, which is not changed: only the modules that contain the classifier are
    copied, shallowly. (A hook would see the calls of all threads that share the network.)
    """
    classifier = classifier_of(network)
    *parents, own = next(name for name, module in network.named_modules() if module is classifier).split(".")
    view = holder = _shallow_copy(network)
    for name in parents:
        inner = _shallow_copy(holder.get_submodule(name))
        setattr(holder, name, inner)
        holder = inner
    setattr(holder, own, nn.Identity())
    return view, classifier


def _shallow_copy(module: nn.Module) -> nn.Module:
    made = copy.copy(module)
    made.__dict__["_modules"] = dict(made.__dict__["_modules"])  # else changes of the copy would change the original
    return made
