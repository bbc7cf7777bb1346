"""Writes JSON with a line for each list or record that holds no other: a thousand raw samples are one line."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["to_compact_json"]


def to_compact_json(value: Any, depth: int = 0) -> str:
    """The JSON text of `value`, whose keys are strings, without a line break at its end; one space a level."""
    held = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    if not any(isinstance(one, dict | list | tuple) for one in held):
        return json.dumps(value)
    parts = [to_compact_json(one, depth + 1) for one in held]
    if isinstance(value, dict):
        parts = [f"{json.dumps(name)}: {text}" for name, text in zip(value, parts, strict=True)]
    start, end = "{}" if isinstance(value, dict) else "[]"
    indent = "\n" + " " * depth
    return start + ",".join(f"{indent} {text}" for text in parts) + indent + end
