"""Refuses names that no network has, before torch is imported; and counts the parameters of listed ones."""

from __future__ import annotations

import re

from wrn_deploy.models.aliases import own_name, unknown_name
from wrn_deploy.models.catalog import read_catalog
from wrn_deploy.models.wrn_names import check_wrn_name, read_wrn_name

__all__ = ["check_name", "parameters_of"]


def check_name(name: str) -> None:
    """Checks that a family may know the network `name`; loads no family.

    A name that begins as a listed one does is left to the families, but for a wrn's depth.

    Raises:
        DeployError: no such network; the text names near ones.
    """
    listed, found = read_catalog(), read_wrn_name(name)
    own = own_name(name) if found is None else str(found)
    if own in listed:
        return
    if found is not None:
        check_wrn_name(found, name)
    stems = {_stem(known) for known in listed} - {"wrn"}  # each of its names is read above
    if found is None and _stem(own) not in stems:
        raise unknown_name(name, listed)


def parameters_of(name: str) -> int | None:
    """The number of parameters of a listed network; None for another one."""
    listed = read_catalog().get(own_name(name))
    return None if listed is None else listed.parameters


def _stem(name: str) -> str:
    """The letters that a name begins with: "resnet" of "resnet-50"."""
    return re.split(r"[^a-z]", name, maxsplit=1)[0]
