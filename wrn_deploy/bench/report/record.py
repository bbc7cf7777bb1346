"""Reads the JSON of a measurement: its format, its numbers, then each field by the dataclass's own types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, TypeVar

from wrn_deploy.bench.report.possible import check_possible
from wrn_deploy.errors import DamagedFile, DeployError, OverLimit
from wrn_deploy.files.text import read_json

__all__ = ["read_record"]

T = TypeVar("T")


def read_record(
    file: Path, kind: type[T], *, version: int, name: str, command: str, extra: Literal["forbid", "ignore"]
) -> T:
    """Reads a dataclass from a JSON file that also has `format`, and maybe `derived`, which is never read back.

    Args:
        file: the file to read.
        kind: the dataclass.
        version: the expected value of `format`.
        name: what the file should be, for errors, as in "a benchmark report".
        command: what writes such files, for errors.
        extra: whether fields that the dataclass does not have are refused.

    Raises:
        DeployError: the file is missing, damaged, of another format, or has a number that nobody can have measured.
    """
    from pydantic import TypeAdapter, ValidationError

    expected = f"expected JSON written by `{command}`"
    try:
        record = read_json(file, finite=False)
        found = record.pop("format")
        if found != version:
            raise DeployError(f"{file} has format {found!r}: expected {version}; run `{command}` again")
        record.pop("derived", None)
        check_possible(record)
        return TypeAdapter(kind).validate_json(json.dumps(record), strict=True, extra=extra)
    except OSError as error:
        raise DamagedFile(f"{file} cannot be read ({error.strerror}): {expected}") from error
    except OverLimit:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, DamagedFile) as error:
        reason = str(error) if type(error) is ValueError else repr(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise DamagedFile(f"{file} is not {name} ({reason}): {expected}; run it again") from error
