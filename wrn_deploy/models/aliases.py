"""The names that torchvision and timm give to networks which have another name here; the standard library only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wrn_deploy.errors import DeployError
from wrn_deploy.plugins import near_names

__all__ = ["ALIASES", "own_name", "unknown_name"]

# torchvision's name, which is timm's too -> the name here.
ALIASES: Mapping[str, str] = {
    "resnet18": "resnet-18",
    "resnet34": "resnet-34",
    "resnet50": "resnet-50",
    "resnet101": "resnet-101",
    "resnet152": "resnet-152",
    "wide_resnet50_2": "wrn-50-2",
    "wide_resnet101_2": "wrn-101-2",
}


def unknown_name(name: str, listed: Iterable[str]) -> DeployError:
    """The error for a name that no family knows; it suggests near ones among `listed` and the aliases."""
    near = near_names(name, [*listed, *ALIASES])
    return DeployError(
        f"unknown model {name!r}{near}: expected wrn-<depth>-<widen>, such as wrn-28-10, or an ImageNet network, "
        "such as wrn-50-2, wrn-34-2, resnet-50 or preresnet-200; `wrn-deploy models` lists them"
    )


def own_name(name: str) -> str:
    """The network's name here: "wrn-50-2" for "wide_resnet50_2"; any other name unchanged."""
    return ALIASES.get(name, name)
