"""The listed networks with their costs, what is published of them, and the weights known by name; no torch.

The costs are a generated table, so that listing the networks builds none: `python -m benchmarks.pages.catalog` writes
`catalog.json` from the families, and a test counts every network again.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.errors import DeployError
from wrn_deploy.models import about_family, describe_model
from wrn_deploy.models.aliases import own_name
from wrn_deploy.models.checkpoints.sources import WeightsSource, sources_of
from wrn_deploy.models.cost import Cost, count_cost
from wrn_deploy.models.published import Published, read_published
from wrn_deploy.spec import ModelSpec, Preprocessing

__all__ = ["FILE", "ListedModel", "count_network", "list_models", "list_network", "read_catalog"]

FILE = Path(__file__).with_name("catalog.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """One network with its usual input, classes and preprocessing; published weights may have another preprocessing.

    Args:
        family: the file that has it.
        about: its family in a sentence.
        input: channels, height, width.
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
    weights: tuple[WeightsSource, ...]

    @property
    def data(self) -> str:
        """The data set that the network was designed for, as published accuracies name it."""
        return "ImageNet" if self.classes == 1000 else "CIFAR-10"


@functools.cache
def read_catalog() -> Mapping[str, ListedModel]:
    """The listed networks by name, in the order of their families; raises DeployError if the file is damaged."""
    try:
        table = json.loads(FILE.read_text(encoding="utf-8"))
        return {
            name: _list(
                ModelSpec.from_json(row["spec"]),
                table["families"][row["spec"]["family"]],
                Cost(parameters=row["parameters"], macs=row["macs"]),
            )
            for name, row in table["networks"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DeployError) as error:
        raise DeployError(f"{FILE} cannot be read ({error!r}): install wrn-deploy again") from error


def count_network(name: str) -> ListedModel:
    """Any network, listed or not, counted by building it.

    Raises:
        DeployError: no such network.
        MachineError: torch is not installed.
    """
    spec = describe_model(name)
    return _list(spec, about_family(spec.family), count_cost(spec))


def list_models() -> list[ListedModel]:
    """Every listed network, sorted by input and cost; no torch is loaded.

    Example:
        >>> [model.macs for model in list_models() if model.name == "wrn-28-10"]
        [5243328768]
    """
    return sorted(read_catalog().values(), key=lambda model: (model.input, model.macs))


def list_network(name: str) -> ListedModel:
    """One network; one that is not listed, as wrn-52-3, is built and counted: errors as `count_network`."""
    return read_catalog().get(own_name(name)) or count_network(name)


def _list(spec: ModelSpec, about: str, cost: Cost) -> ListedModel:
    return ListedModel(
        name=spec.name,
        family=spec.family,
        about=about,
        input=spec.input.shape,
        classes=spec.classes,
        preprocessing=spec.preprocessing,
        parameters=cost.parameters,
        macs=cost.macs,
        published=read_published().get(spec.name, Published()),
        weights=sources_of(spec.name),
    )
