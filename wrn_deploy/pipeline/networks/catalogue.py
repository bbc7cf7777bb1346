"""The networks with their costs, what is published of them, and the weights known by name; no weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass

from wrn_deploy.models import about_family, describe_model, listed_models
from wrn_deploy.models.checkpoints.sources import Source, sources_of
from wrn_deploy.models.published import PUBLISHED, Published
from wrn_deploy.spec import ModelSpec, Preprocessing

__all__ = ["Listed", "list_models", "list_network"]


@dataclass(frozen=True, slots=True)
class Listed:
    """One network.

    Args:
        name: as every command takes it.
        family: the file that has it.
        about: what the family is, in a sentence.
        input: channels, height, width.
        classes: its usual number.
        preprocessing: its usual one; that of published weights may be another.
        parameters: trainable ones.
        macs: multiply-accumulates for one image, in its convolutions and linear layers.
        published: sizes and accuracies as published, each with its source.
        weights: published ones known by name.
    """

    name: str
    family: str
    about: str
    input: tuple[int, ...]
    classes: int
    preprocessing: Preprocessing
    parameters: int
    macs: int
    published: Published
    weights: tuple[Source, ...]

    @property
    def data(self) -> str:
        """The data set that it is for, first of all, as published accuracies name it."""
        return "ImageNet" if self.classes == 1000 else "CIFAR-10"


def list_models() -> list[Listed]:
    """Every listed network, by input and cost; raises MachineError without torch."""
    listed = [_list(describe_model(name)) for name in listed_models()]
    return sorted(listed, key=lambda model: (model.input, model.macs))


def list_network(name: str) -> Listed:
    """One network, listed or not, as wrn-52-3 is not.

    Raises:
        DeployError: no such network.
        MachineError: torch is not installed.
    """
    return _list(describe_model(name))


def _list(spec: ModelSpec) -> Listed:
    from wrn_deploy.models.cost import count_cost

    cost = count_cost(spec)
    return Listed(
        name=spec.name,
        family=spec.family,
        about=about_family(spec.family),
        input=spec.input.shape,
        classes=spec.classes,
        preprocessing=spec.preprocessing,
        parameters=cost.parameters,
        macs=cost.macs,
        published=PUBLISHED.get(spec.name, Published()),
        weights=sources_of(spec.name),
    )
