"""Reads names of classes from a file: one a line, or ImageNet's class index in JSON."""

from __future__ import annotations

import json
from pathlib import Path

from wrn_deploy.errors import DeployError

__all__ = ["read_labels"]


def read_labels(file: Path) -> tuple[str, ...]:
    """The names of the classes, in the order of their indices.

    Args:
        file: a text with one name a line, a JSON list of names, or a JSON object index -> name or [id, name].

    Raises:
        DeployError: the file cannot be read, is none of these, or leaves an index out.
    """
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix != ".json":
            return tuple(line.strip() for line in text.splitlines() if line.strip())
        found = json.loads(text)
        if isinstance(found, dict):
            found = [found[str(index)] for index in range(len(found))]
        return tuple(str(entry[-1] if isinstance(entry, list) else entry) for entry in found)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise DeployError(
            f"{file} gives no labels ({error!r}): expected one name a line, or JSON with an entry for each index from 0"
        ) from error
