"""Reads options from a TOML file: `--config FILE`, or `[tool.wrn-deploy]` of the pyproject.toml in this folder."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from wrn_deploy.errors import UsageError
from wrn_deploy.files.text import read_text
from wrn_deploy.plugins import near_names

__all__ = ["PROJECT", "read_config", "values_of"]

PROJECT = Path("pyproject.toml")
TABLE = "wrn-deploy"  # in [tool] of a pyproject.toml


def read_config(file: Path | None, commands: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """The options of each command by their names, as in {"bench": {"batches": [1, 8]}}.

    Args:
        file: with a table for each command, at its top or in [tool.wrn-deploy]; None: this folder's pyproject.toml, if
            it has that table.
        commands: the known ones.

    Raises:
        UsageError: the file cannot be read, is not TOML, or has a table of an unknown command.
    """
    if file is None and not PROJECT.is_file():
        return {}
    where = file or PROJECT
    try:
        content = tomllib.loads(read_text(where))
    except OSError as error:
        raise UsageError(f"--config {where} cannot be read ({error.strerror}): expected a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        if file is None:  # another program's to complain about
            return {}
        raise UsageError(
            f"--config {where} is not TOML ({error}): expected one table per command, such as [bench]"
        ) from error
    tool = content.get("tool", {})
    tables = tool.get(TABLE) if isinstance(tool, dict) else None
    if tables is None:
        tables = content if file is not None else {}
    for name, table in tables.items():
        if name not in commands or not isinstance(table, dict):
            near = near_names(name, list(commands))
            raise UsageError(f"{where} has {name!r}{near}: expected one table per command, such as [bench]")
    return tables


def values_of(command: typer.core.TyperCommand, table: Mapping[str, Any]) -> dict[str, Any]:
    """The values for a command's parameters, by the parameters' names, as if they were typed.

    A list is several values of an option that may be repeated, or values with commas between them.

    Raises:
        UsageError: the command has no such option, or a value is a table.
    """
    options = {
        name.removeprefix("--"): parameter
        for parameter in command.params
        if parameter.param_type_name == "option"
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("--")
    }
    found: dict[str, Any] = {}
    for name, value in table.items():
        option = options.get(name)
        if option is None or isinstance(value, dict):
            near = near_names(name, list(options))
            raise UsageError(f"[{command.name}] of the configuration has {name!r}{near}: expected options without --")
        assert option.name is not None
        positive = f"--{name}" in option.opts
        found[option.name] = _typed(value, repeated=option.multiple) if positive else not value
    return found


def _typed(value: Any, *, repeated: bool) -> Any:
    if isinstance(value, list):
        words = [str(one) for one in value]
        return words if repeated else ",".join(words)
    if isinstance(value, bool):
        return value
    return [str(value)] if repeated else str(value)
