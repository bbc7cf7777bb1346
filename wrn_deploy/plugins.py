"""Finds one-file additions (runtimes, calibrators, families, formats) by file name; the standard library only."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from types import ModuleType

from wrn_deploy.errors import DeployError

__all__ = ["load_plugin", "near_names", "plugin_names"]


def plugin_names(package: str) -> list[str]:
    """The files of `package` (as in "wrn_deploy.backends"), sorted; imports only the package itself."""
    found = importlib.import_module(package)
    return sorted(
        module.name
        for module in pkgutil.iter_modules(found.__path__)
        if not module.ispkg and not module.name.startswith("_")
    )


def load_plugin(package: str, name: str) -> ModuleType:
    """Imports the file `name` of `package`; raises DeployError, which lists the files, if there is none."""
    names = plugin_names(package)
    if name not in names:
        folder = package.rpartition(".")[2]
        kind = "family" if folder == "families" else folder.removesuffix("s")
        raise DeployError(f"unknown {kind} {name!r}{near_names(name, names)}: expected one of {', '.join(names)}")
    return importlib.import_module(f"{package}.{name}")


def near_names(name: str, names: list[str]) -> str:
    """` (did you mean ...?)` for the known names near `name`, or an empty text."""
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(near)}?)" if near else ""
