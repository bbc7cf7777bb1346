"""Writes a ModelConfig in protobuf's text format, as `text_format.py` reads it; the standard library only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wrn_deploy.serving.schema import ROOT_MESSAGE, Field, field_of

__all__ = ["write_config"]


def write_config(config: Mapping[str, Any]) -> str:
    """The text of a configuration, fields in the dict's order."""
    return "\n".join(_lines(ROOT_MESSAGE, config, "")) + "\n"


def _quoted(text: str) -> str:
    escaped = "".join(
        f"\\{character}" if character in '"\\' else character if " " <= character <= "~" else _bytes(character)
        for character in text
    )
    return f'"{escaped}"'


def _bytes(character: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8"))


def _lines(message: str, config: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, value in config.items():
        field = field_of(message, name)
        assert field is not None, f"{message} has no field {name}"
        if field.key is not None:
            entry = Field(name="value", type=field.type)
            for key, one in value.items():
                yield f"{indent}{name} {{"
                yield f"{indent}  key: {_quoted(str(key))}"
                yield from _field_lines(entry, one, f"{indent}  ")
                yield f"{indent}}}"
        elif field.repeated and not field.is_message:
            yield f"{indent}{name}: [{', '.join(_written(field, one) for one in value)}]"
        else:
            for one in value if field.repeated else [value]:
                yield from _field_lines(field, one, indent)


def _field_lines(field: Field, value: Any, indent: str) -> Iterator[str]:
    if not field.is_message:
        yield f"{indent}{field.name}: {_written(field, value)}"
    elif not value:
        yield f"{indent}{field.name} {{ }}"
    else:
        yield f"{indent}{field.name} {{"
        yield from _lines(field.type, value, f"{indent}  ")
        yield f"{indent}}}"


def _written(field: Field, value: Any) -> str:
    if field.type == "string":
        return _quoted(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
