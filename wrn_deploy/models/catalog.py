"""The listed networks with their costs as a generated table, so that listing them builds none; no torch.

`python -m benchmarks.pages.catalog` writes `catalog.json` from the families; a test counts every network again.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.errors import DeployError
from wrn_deploy.models import about_family, describe_model
from wrn_deploy.models.cost import Cost, count_cost
from wrn_deploy.spec import ModelSpec

__all__ = ["FILE", "CatalogEntry", "count_entry", "read_catalog"]

FILE = Path(__file__).with_name("catalog.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """A network's usual description, its family in a sentence, and what it costs."""

    spec: ModelSpec
    about: str
    cost: Cost


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
