"""The networks: one file per family, found by its name; imports torch only when a network is asked for.

A file in `families` offers `LISTED` (names for `wrn-deploy models`), `describe(name) -> ModelSpec | None` (None: not of
this family; DeployError: of this family but impossible), `build(spec) -> nn.Module` and `LAYOUTS`, how foreign
checkpoints name its tensors (see `layout.py`). The network ends in a Linear. If it is called with a list `maps`, it
appends the last tensor of each resolution, finest first, as a detector reads them. After a change to a family, run
`python -m benchmarks.pages.catalog`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from wrn_deploy.errors import DeployError, missing_package
from wrn_deploy.models.aliases import own_name, unknown_name
from wrn_deploy.models.checkpoints.layout import OWN, KeyLayout
from wrn_deploy.plugins import load_plugin, plugin_names
from wrn_deploy.spec import ModelSpec, Preprocessing

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Overrides", "about_family", "build_model", "classifier_of", "describe_model", "layouts", "listed_models"]

FAMILIES = "wrn_deploy.models.families"

Record = TypeVar("Record", ModelSpec, Preprocessing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """The user's changes to a network's description; None leaves a value unchanged."""

    classes: int | None = None
    labels: tuple[str, ...] | None = None
    dropout: float | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    resize: int | None = None

    def apply(self, spec: ModelSpec) -> ModelSpec:
        """`spec` with these changes; raises DeployError if they contradict each other."""
        preprocessing = _changed(spec.preprocessing, mean=self.mean, std=self.std, resize=self.resize)
        classes, labels = self.classes, self.labels
        if labels is not None and classes is None:
            classes = len(labels)
        elif labels is None and classes not in (None, spec.classes):
            labels = ()  # they name other classes
        return _changed(spec, classes=classes, labels=labels, dropout=self.dropout, preprocessing=preprocessing)


def describe_model(name: str) -> ModelSpec:
    """The description of the network called `name`, with its usual classes and preprocessing.

    torchvision's and timm's names are understood too: "wide_resnet50_2" is "wrn-50-2" (`aliases.py`).

    Example:
        >>> build_model(describe_model("wrn-16-2"))(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 10])

    Raises:
        DeployError: no such network; the text names near ones.
        MachineError: torch is not installed.
    """
    refused: DeployError | None = None
    for family in plugin_names(FAMILIES):
        try:
            spec: ModelSpec | None = _family(family).describe(own_name(name))
        except DeployError as error:  # another family may know the name
            refused = error
            continue
        if spec is not None:
            return spec
    if refused is not None:
        raise refused
    raise unknown_name(name, listed_models())


def listed_models() -> list[str]:
    """The names that the families list; any other wrn-<depth>-<widen> with a depth of 6n+4 works too."""
    return [name for family in plugin_names(FAMILIES) for name in _family(family).LISTED]


def build_model(spec: ModelSpec) -> nn.Module:
    """The network, untrained, on the current default device."""
    network: nn.Module = _family(spec.family).build(spec)
    from wrn_deploy.models.whitening import add_whitening

    return add_whitening(network, spec)


def classifier_of(network: nn.Module) -> nn.Linear:
    """The layer that computes the logits in any family: the last Linear, whose input is the pooled features."""
    from torch import nn

    *_, last = (module for module in network.modules() if isinstance(module, nn.Linear))
    return last


def about_family(family: str) -> str:
    """One sentence on the networks of `family`: the first of its file."""
    first = (_family(family).__doc__ or "").partition("\n")[0]
    return first.removesuffix(".").removesuffix("; torch only") + "."


def layouts(family: str) -> tuple[KeyLayout, ...]:
    """The checkpoint layouts of `family`; this project's own comes first, unless one of them is the same."""
    known: tuple[KeyLayout, ...] = tuple(_family(family).LAYOUTS)
    return known if any(not layout.rules for layout in known) else (OWN, *known)


def _family(name: str) -> Any:
    try:
        return load_plugin(FAMILIES, name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise missing_package("torch", "export", "a network in PyTorch") from error


def _changed(record: Record, /, **changes: Any) -> Record:
    return dataclasses.replace(record, **{key: value for key, value in changes.items() if value is not None})
