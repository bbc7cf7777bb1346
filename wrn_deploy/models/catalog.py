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
from wrn_deploy.models.checkpoints.sources import WeightsSource, sources_of
from wrn_deploy.models.cost import Cost, count_cost
from wrn_deploy.models.published import Published, read_published
from wrn_deploy.spec import ModelSpec, Preprocessing

__all__ = ["FILE", "CatalogEntry", "ListedModel", "count_entry", "list_models", "list_network", "read_catalog"]

FILE = Path(__file__).with_name("catalog.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """A network's usual description, its family in a sentence, and what it costs."""

    spec: ModelSpec
    about: str
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
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
    weights: tuple[WeightsSource, ...]

    @property
    def data(self) -> str:
        """The data set that the network was designed for, as published accuracies name it."""
        return "ImageNet" if self.classes == 1000 else "CIFAR-10"


@functools.cache
def read_catalog() -> Mapping[str, CatalogEntry]:
    """The listed networks by name, in the order of their families; raises DeployError if the file is damaged."""
    try:
        table = json.loads(FILE.read_text(encoding="utf-8"))
        return {
            name: CatalogEntry(
                spec=ModelSpec.from_json(row["spec"]),
                about=table["families"][row["spec"]["family"]],
                cost=Cost(parameters=row["parameters"], macs=row["macs"]),
            )
            for name, row in table["networks"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DeployError) as error:
        raise DeployError(f"{FILE} cannot be read ({error!r}): install wrn-deploy again") from error


def count_entry(name: str) -> CatalogEntry:
    """The entry of any network, listed or not, counted by building it.

    Raises:
        DeployError: no such network.
        MachineError: torch is not installed.
    """
    spec = describe_model(name)
    return CatalogEntry(spec=spec, about=about_family(spec.family), cost=count_cost(spec))


def list_models() -> list[ListedModel]:
    """Every listed network, sorted by input and cost; no torch is loaded.

    Example:
        >>> [model.macs for model in list_models() if model.name == "wrn-28-10"]
        [5243328768]
    """
    return sorted(map(_list, read_catalog().values()), key=lambda model: (model.input, model.macs))


def list_network(name: str) -> ListedModel:
    """One network; one that is not listed, as wrn-52-3, is built and counted.

    Raises:
        DeployError: no such network.
        MachineError: torch is not installed, and the network is not listed.
    """
    return _list(read_catalog().get(name) or count_entry(name))


def _list(entry: CatalogEntry) -> ListedModel:
    spec = entry.spec
    return ListedModel(
        name=spec.name,
        family=spec.family,
        about=entry.about,
        input=spec.input.shape,
        classes=spec.classes,
        preprocessing=spec.preprocessing,
        parameters=entry.cost.parameters,
        macs=entry.cost.macs,
        published=read_published().get(spec.name, Published()),
        weights=sources_of(spec.name),
    )
