"""How options are declared: values, flags, names out of a list; and groups of options that several commands take."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
from collections.abc import Callable, Sequence
from enum import StrEnum
from inspect import Parameter
from typing import Annotated, Any, get_args, get_type_hints

import typer
from typer.models import OptionInfo

from wrn_deploy.cli.options.effects import refuse_without_effect
from wrn_deploy.plugins import near_names

__all__ = ["choice", "either", "flag", "one_of", "option", "takes_groups", "values"]


def option(
    metavar: str, about: str, panel: str | None = None, *, minimum: int | None = None, name: str | None = None
) -> Any:
    """An option with a value.

    Args:
        metavar: what --help shows for the value, as in "FILE".
        about: the explanation in --help.
        panel: the panel of --help that shows it; None: its group's.
        minimum: the lowest number allowed.
        name: as in "--lr"; None: made from the parameter's name.
    """
    return typer.Option(*_named(name), metavar=metavar, help=about, rich_help_panel=panel, min=minimum)


def flag(name: str, about: str, panel: str | None = None) -> Any:
    """An option without a value; typer would show <bool> for one without a metavar."""
    return typer.Option(name, metavar="", help=about, rich_help_panel=panel)


def either(name: str, about: str, panel: str | None = None) -> Any:
    """A flag that turns something on or off: --name, --no-name."""
    return flag(f"--{name}/--no-{name}", about, panel)


def choice(names: type[StrEnum], about: str, panel: str | None = None, *, name: str | None = None) -> Any:
    """An option whose value is a member of an enum; --help shows `about`, then the names."""
    return option("NAME", f"{about} {', '.join(names)}.", panel, name=name)


def one_of(names: Sequence[str], panel: str | None = None, *, name: str | None = None, more: str = "") -> Any:
    """An option whose value, or each of its values, is one of `names`; an error suggests near names.

    Args:
        names: --help lists them, and then `more`.
        panel: the panel of --help that shows it; None: its group's.
        name: as in "--backend"; None: made from the parameter's name.
        more: what --help says after the names.
    """

    def check(value: str | list[str] | None) -> str | list[str] | None:
        for text in [value] if isinstance(value, str) else value or []:
            if text not in names:
                raise typer.BadParameter(f"{text!r}{near_names(text, [*names])}; expected one of {', '.join(names)}.")
        return value

    about = f"{', '.join(names[:-1])} or {names[-1]}{more}."
    return typer.Option(*_named(name), metavar="NAME", callback=check, rich_help_panel=panel, help=about)


def _named(name: str | None) -> list[str]:
    return [name] if name else []


def values(group: Any) -> dict[str, Any]:
    """The values of a group of options by name: the arguments of the dataclass that the pipeline takes."""
    return {field.name: getattr(group, field.name) for field in dataclasses.fields(group)}


def takes_groups(command: Callable[..., None]) -> Callable[..., None]:
    """`command` as typer must see it: each parameter that is a dataclass becomes one option for each of its fields.

    Options that were given and would do nothing are refused (see `effects.py`).

    A group of options stands once, for all commands that take it. The dataclass's fields are `Annotated` as a command's
    parameters are, and their defaults are the options' defaults. `PANEL`, if it has one, is the panel of its options.
    """
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if dataclasses.is_dataclass(parameter.annotation)
    }

    @functools.wraps(command)
    def called(context: typer.Context, **given: Any) -> None:
        refuse_without_effect(context)
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in dataclasses.fields(group)})
        command(**given)

    parameters = [Parameter("context", Parameter.KEYWORD_ONLY, annotation=typer.Context)]
    for name, parameter in signature.parameters.items():
        parameters += _options_of(groups[name]) if name in groups else [parameter.replace(kind=Parameter.KEYWORD_ONLY)]
    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # what typer reads
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def _options_of(group: Any) -> list[Parameter]:
    """A group's fields as parameters. Its signature has the defaults, its annotations have the options."""
    hints = get_type_hints(group, include_extras=True)
    panel = getattr(group, "PANEL", None)
    fields = inspect.signature(group).parameters.items()
    return [field.replace(annotation=_in_panel(hints[name], panel)) for name, field in fields]


def _in_panel(annotation: Any, panel: str | None) -> Any:
    kind, declared = get_args(annotation)
    if isinstance(declared, OptionInfo) and declared.rich_help_panel is None:
        declared = copy.copy(declared)  # other groups may share it
        declared.rich_help_panel = panel
    return Annotated[kind, declared]
