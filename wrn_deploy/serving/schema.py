"""The fields of Triton's ModelConfig by message, read from model_config.json; the standard library only.

The table holds the names and types of the protobuf messages in NVIDIA's triton-inference-server/common
(`model_config.proto`, as in tritonclient 2.73.0). The package itself cannot be a dependency: it wants protobuf 6, and
the exporters want 7. A test compares the table with the messages.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ROOT_MESSAGE", "Field", "enums", "field_of", "one_of"]

ROOT_MESSAGE = "ModelConfig"
ONE_OF = "|"  # the key of a message's groups of fields of which one may be set


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of a message.

    Args:
        name: as in "max_batch_size".
        type: a scalar as in "int32", or the name of a message or enum; of a map, that of its values.
        repeated: whether it is a list.
        key: the type of a map's keys; None: it is not a map.
    """

    name: str
    type: str
    repeated: bool = False
    key: str | None = None

    @property
    def is_message(self) -> bool:
        """Whether its values are messages."""
        return self.type in _tables()["messages"]


def field_of(message: str, name: str) -> Field | None:
    """The field `name` of a message; None: it has none."""
    kind = _tables()["messages"][message].get(name)
    if name == ONE_OF or kind is None:
        return None
    key, is_map, value = kind.partition("@")
    if is_map:
        return Field(name=name, type=value, key=key)
    return Field(name=name, type=kind.removeprefix("*"), repeated=kind.startswith("*"))


def one_of(message: str) -> list[list[str]]:
    """The groups of fields of a message of which one may be set."""
    groups: list[list[str]] = _tables()["messages"][message].get(ONE_OF, [])
    return groups


def enums() -> Mapping[str, Mapping[str, int]]:
    """Enum -> its names and their numbers."""
    found: Mapping[str, Mapping[str, int]] = _tables()["enums"]
    return found


@functools.cache
def _tables() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    text = importlib.resources.files(__package__).joinpath("model_config.json").read_text(encoding="ascii")
    tables: Mapping[str, Mapping[str, Mapping[str, Any]]] = json.loads(text)
    return tables
