"""Reads text and JSON from outside, within the budget and strictly; the standard library only."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from wrn_deploy.errors import DamagedFile
from wrn_deploy.files.budget import budget
from wrn_deploy.files.regular import open_regular

__all__ = ["parse_json", "read_at_most", "read_bytes", "read_json", "read_text"]

COSTLY_IN_A_PART = 4
PIECE_BYTES = 1 << 20


def read_at_most(stream: BinaryIO, most: int) -> bytes:
    """The rest of a stream, up to `most` bytes; takes memory only for what is there, however large `most` is."""
    pieces, left = list[bytes](), most
    while left and (piece := stream.read(min(left, PIECE_BYTES))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def read_bytes(stream: BufferedReader, name: object) -> bytes:
    """The rest of an open file of at most `text_bytes`; `name` names it in the error.

    Raises:
        OverLimit: it is too large.
    """
    most = budget().text_bytes
    budget().check("text_bytes", os.fstat(stream.fileno()).st_size, name)
    content = read_at_most(stream, most + 1)
    budget().check("text_bytes", len(content), name)
    return content


def read_text(path: Path | str, *, inside: Path | str | None = None) -> str:
    """The text of a UTF-8 file of at most `text_bytes`; a byte order mark is dropped.

    Raises:
        DamagedFile: it is not a regular file, or not UTF-8.
        OverLimit: it is too large.
        OSError: it is missing or cannot be read.
    """
    with open_regular(path, inside=inside) as stream:
        content = read_bytes(stream, path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DamagedFile(f"{path} is not text in UTF-8 ({error}): expected UTF-8") from error


def read_json(path: Path | str, *, inside: Path | str | None = None, finite: bool = True) -> Any:
    """The value in a JSON file; raises as `read_text` and `parse_json` do."""
    return parse_json(read_text(path, inside=inside), path, finite=finite)


def parse_json(text: str, name: object, *, finite: bool = True) -> Any:
    """The value in a JSON text; strict: no repeated key, and at most `nesting` levels.

    Args:
        text: the text.
        name: its name, for errors.
        finite: whether to refuse NaN and infinities. Readers that say which number is impossible take them.

    Raises:
        DamagedFile: it is not such a text.
        OverLimit: it is nested too deep, or has too many values.
    """
    # An object, a list or a text takes some hundred bytes, a number 40: all are counted before they are made.
    costly = text.count("{") + text.count("[") + text.count('"') // 2
    budget().check("parts", costly // COSTLY_IN_A_PART, name)
    budget().check("members", text.count(","), name)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant if finite else float,
            parse_float=_finite if finite else float,
        )
    except RecursionError as error:
        raise DamagedFile(f"{name} is nested too deeply: expected at most {budget().nesting} levels") from error
    except ValueError as error:
        raise DamagedFile(f"{name} is damaged ({error}): expected JSON") from error
    budget().check("nesting", _depth(value), name)
    return value


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} appears twice")
    return record


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is not a finite number")
    return number


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level:
        depth += 1
        level = [inner for outer in level for inner in _inner(outer)]
    return depth


def _inner(value: Any) -> Iterator[Any]:
    return iter(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
