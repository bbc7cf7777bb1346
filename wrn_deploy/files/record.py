"""Reads a dataclass from a record of JSON types: exact names, exact types; the standard library only.

`dataclasses.asdict` writes such records. Values stay as they are: a whole number in a field of floats is not converted,
so that a record that is written again is the same text.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import cache
from typing import Any, TypeVar

from wrn_deploy.errors import DamagedFile, DeployError

__all__ = ["from_record"]

T = TypeVar("T")


def from_record(kind: type[T], record: object, name: str) -> T:
    """The dataclass `kind` that a record of JSON types describes.

    Fields may be `str`, `bool`, `int`, `float`, an Enum, a dataclass, `X | None`, `tuple[X, ...]`, `tuple[X, Y]`,
    `Sequence[X]`, `Mapping[str, X]` or `Any`, nested at will.

    Args:
        kind: the dataclass; all its fields must be in the record, as `asdict` writes all.
        record: as `dataclasses.asdict` makes it, after a round trip through JSON.
        name: what is read, for errors.

    Raises:
        DamagedFile: a field is missing, unknown or of another type, or the dataclass refuses its value.

    Example:
        ```python
        from_record(TensorSpec, {"name": "logits", "dtype": "float32", "shape": [10]}, "the output")
        ```
    """
    if not isinstance(record, dict):
        raise DamagedFile(f"{name} is {record!r:.80}: expected a record")
    hints = _hints(typing.cast("typing.Hashable", kind))
    unknown, missing = sorted(set(record) - set(hints)), sorted(set(hints) - set(record))
    if unknown or missing:
        found = f"has the unknown field {unknown[0]!r:.80}" if unknown else f"lacks the field {missing[0]!r}"
        raise DamagedFile(f"{name} {found}: expected {', '.join(hints)}")
    values = {field: _value(hints[field], value, f"{name}.{field}") for field, value in record.items()}
    try:
        return kind(**values)
    except DamagedFile:
        raise
    except (DeployError, ValueError) as error:
        raise DamagedFile(f"{name} is impossible ({error})") from error


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _value(hint: Any, value: Any, name: str) -> Any:
    reader = GENERIC.get(typing.get_origin(hint) or type(hint))
    if reader is not None:
        return reader(hint, value, name)
    if dataclasses.is_dataclass(hint):
        return from_record(typing.cast("type[Any]", hint), value, name)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _one_of(hint, value, name)
    if hint is not Any and not CHECKS[hint](value):
        raise DamagedFile(f"{name} is {value!r:.80}: expected {EXPECTED[hint]}")
    return value


CHECKS: dict[type, Callable[[Any], bool]] = {
    str: lambda value: isinstance(value, str) and _encodes(value),
    bool: lambda value: isinstance(value, bool),
    int: lambda value: isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63,
    float: lambda value: isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**1023,
}
EXPECTED = {str: "text", bool: "true or false", int: "an integer", float: "a finite number"}


def _encodes(text: str) -> bool:
    """Half a surrogate pair, which JSON can hold, is no text."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _optional(hint: Any, value: Any, name: str) -> Any:
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    if value is None and len(kinds) < len(typing.get_args(hint)):
        return None
    for kind in kinds[:-1]:
        try:
            return _value(kind, value, name)
        except DamagedFile:
            continue
    return _value(kinds[-1], value, name)


def _items(hint: Any, value: Any, name: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise DamagedFile(f"{name} is {value!r:.80}: expected a list")
    kinds = typing.get_args(hint)
    if len(kinds) == 1 or kinds[1] is ...:
        return tuple(_value(kinds[0], item, f"{name}[{index}]") for index, item in enumerate(value))
    if len(value) != len(kinds):
        raise DamagedFile(f"{name} has {len(value)} values: expected {len(kinds)}")
    pairs = zip(kinds, value, strict=True)
    return tuple(_value(kind, item, f"{name}[{index}]") for index, (kind, item) in enumerate(pairs))


def _entries(hint: Any, value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DamagedFile(f"{name} is {value!r:.80}: expected a record")
    _, kind = typing.get_args(hint)
    return {_value(str, key, f"a name in {name}"): _value(kind, item, f"{name}.{key}") for key, item in value.items()}


def _one_of(kind: type[Enum], value: Any, name: str) -> Enum:
    for member in kind:
        if type(value) is type(member.value) and value == member.value:
            return member
    raise DamagedFile(f"{name} is {value!r:.80}: expected one of {', '.join(str(member.value) for member in kind)}")


GENERIC: dict[Any, Callable[[Any, Any, str], Any]] = {
    types.UnionType: _optional,
    tuple: _items,
    Sequence: _items,
    Mapping: _entries,
}
