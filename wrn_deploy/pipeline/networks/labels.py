"""Reads class names from a file: one per line, or ImageNet's class index in JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wrn_deploy.errors import DamagedFile, DeployError, OverLimit
from wrn_deploy.files.text import parse_json, read_text

__all__ = ["read_labels"]

MOST = 16 * 2**20  # characters: the values of a JSON text take twenty times as much memory
EXPECTED = 'expected one name per line, or JSON: ["name", ...], {"0": "name", ...} or {"0": ["id", "name"], ...}'


def read_labels(file: Path) -> tuple[str, ...]:
    """The names of the classes, in the order of their indices.

    Args:
        file: a UTF-8 text with one name per line, a JSON list of names, or a JSON object index -> name or [id, name].

    Raises:
        DeployError: the file cannot be read, is none of these, or leaves an index out.
    """
    try:
        found = _read(file)
    except OSError as error:
        raise DamagedFile(f"{file} cannot be read ({error.strerror}): {EXPECTED}") from error
    except OverLimit:
        raise
    except DamagedFile as error:
        raise DamagedFile(f"{error}; {EXPECTED}") from error
    if isinstance(found, dict):
        missing = next((str(index) for index in range(len(found)) if str(index) not in found), None)
        if missing is not None:
            raise DeployError(f"{file} has {len(found)} entries and none for index {missing}: {EXPECTED}")
        found = [found[str(index)] for index in range(len(found))]
    if not isinstance(found, list) or not found:
        raise DeployError(f"{file} contains no names: {EXPECTED}")
    return tuple(_name(entry, index, file) for index, entry in enumerate(found))


def _read(file: Path) -> Any:
    text = read_text(file).strip()
    if len(text) > MOST:
        raise DamagedFile(f"{file} has {len(text):,} characters, which are more than {MOST:,}")
    return parse_json(text, file) if file.suffix == ".json" else text.splitlines()


def _name(entry: object, index: int, file: Path) -> str:
    name = entry[-1] if isinstance(entry, list) and entry else entry
    if not isinstance(name, str) or not name.strip():
        raise DeployError(f"{file} has {repr(entry)[:80]} for class {index}: {EXPECTED}")
    return name.strip()
