"""How options are declared: values, flags, names out of a list; and groups of options that several commands take."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from inspect import Parameter
from typing import Any, get_type_hints

import typer

from wrn_deploy.plugins import near_names

__all__ = ["choice", "either", "flag", "one_of", "option", "takes_groups"]


def option(metavar: str, about: str, panel: str | None = None, least: int | None = None) -> Any:
    """An option with a value, which --help shows as `metavar`, in the panel `panel`."""
    return typer.Option(metavar=metavar, help=about, rich_help_panel=panel, min=least)


def flag(name: str, about: str, panel: str | None = None) -> Any:
    """An option without a value; typer would show <bool> for one without a metavar."""
    return typer.Option(name, metavar="", help=about, rich_help_panel=panel)


def either(name: str, about: str, panel: str | None = None) -> Any:
    """A flag that turns something on or off: --name, --no-name."""
    return flag(f"--{name}/--no-{name}", about, panel)


def choice(names: type[StrEnum], about: str, panel: str | None = None) -> Any:
    """An option whose value is a member of an enum; --help shows `about`, then the names."""
    return typer.Option(metavar="NAME", help=f"{about} {', '.join(names)}.", rich_help_panel=panel)


def one_of(names: Sequence[str], panel: str | None = None, name: str | None = None, more: str = "") -> Any:
    """An option whose value is one of `names`, which are no enum; for any other value the error suggests near names.

    Args:
        names: the values; --help lists them.
        panel: the panel that --help shows it in.
        name: of an option that may be given several times, as in "--backend".
        more: what --help says after the names.
    """

    def check(value: str | list[str] | None) -> str | list[str] | None:
        for one in [value] if isinstance(value, str) else value or []:
            if one not in names:
                raise typer.BadParameter(f"{one!r}{near_names(one, [*names])}; expected one of {', '.join(names)}.")
        return value

    about = f"{', '.join(names[:-1])} or {names[-1]}{'; repeatable' if name else ''}{more}."
    declared = [name] if name else []
    return typer.Option(*declared, metavar="NAME", callback=check, rich_help_panel=panel, help=about)


def takes_groups(command: Callable[..., None]) -> Callable[..., None]:
    """`command` as typer must see it: each parameter that is a dataclass becomes one option for each of its fields.

    So that several commands share a group of options, which stands once: the dataclass's fields are `Annotated` as a
    command's parameters are, and their defaults are the options' defaults.
    """
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if dataclasses.is_dataclass(parameter.annotation)
    }

    @functools.wraps(command)
    def called(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in dataclasses.fields(group)})
        command(**given)

    parameters: list[Parameter] = []
    for name, parameter in signature.parameters.items():
        parameters += _fields_of(groups[name]) if name in groups else [parameter.replace(kind=Parameter.KEYWORD_ONLY)]
    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # what typer reads
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def _fields_of(group: Any) -> Iterator[Parameter]:
    annotations = get_type_hints(group, include_extras=True)
    for field in dataclasses.fields(group):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        elif default is dataclasses.MISSING:
            default = Parameter.empty
        yield Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=annotations[field.name])
