"""Counts parameters, multiply-accumulates and features of a network without weights or memory (torch's meta device)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wrn_deploy.models import build_model, classifier_of
from wrn_deploy.spec import ModelSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["Cost", "count_cost", "count_features", "shape_feature_maps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Trainable parameters, and multiply-accumulates of the Conv and Linear layers, and of whitening, for one image."""

    parameters: int
    macs: int


def count_cost(spec: ModelSpec) -> Cost:
    """Counts them on the network itself, at the input size of `spec`.

    A Conv costs output elements x kernel elements x input channels / groups; a Linear costs inputs x outputs.
    """
    import torch
    from torch import nn

    from wrn_deploy.models.whitening import ZcaWhitening

    with torch.device("meta"):
        network = build_model(spec).eval()
        images = torch.empty(1, *spec.core.input.shape)
    macs = 0

    def count(module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal macs
        if isinstance(module, nn.Conv2d):
            macs += output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            macs += module.weight.numel()
        elif isinstance(module, ZcaWhitening):
            macs += module.matrix.numel()

    for module in network.modules():
        module.register_forward_hook(count)
    with torch.inference_mode():
        network(images)
    return Cost(parameters=sum(parameter.numel() for parameter in network.parameters()), macs=macs)


def count_features(spec: ModelSpec) -> int:
    """The number of pooled features, which the classifier reads."""
    import torch

    with torch.device("meta"):
        return classifier_of(build_model(spec)).in_features


def shape_feature_maps(spec: ModelSpec) -> tuple[tuple[int, int, int], ...]:
    """The (channels, height, width) of the network's feature maps, finest first, at the input size of `spec`.

    Maps of a single pixel, as of a small image, are left out: they are the pooled features.
    """
    import torch

    maps: list[torch.Tensor] = []
    with torch.device("meta"), torch.inference_mode():
        build_model(spec).eval()(torch.empty(1, *spec.core.input.shape), maps=maps)
    shapes = [(tensor.shape[1], tensor.shape[2], tensor.shape[3]) for tensor in maps]
    return tuple(shape for shape in shapes if shape[1] * shape[2] > 1)
