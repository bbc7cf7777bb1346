"""Reads `labels.csv`, which lists the class of each file of an image folder; the standard library only."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

from wrn_deploy.data import check_label
from wrn_deploy.errors import DamagedFile, DeployError, OverLimit
from wrn_deploy.files.budget import budget
from wrn_deploy.files.damage import DAMAGE
from wrn_deploy.files.text import read_text

__all__ = ["LABEL_FILE", "read_label_file"]

LABEL_FILE = "labels.csv"
LONGEST = 20  # characters of a number; the first ones of a longer one are too large for a class already
UNREADABLE: tuple[type[Exception], ...] = (*DAMAGE, DamagedFile)
COLUMNS = ("class_index", "label", "class")


def read_label_file(folder: Path) -> tuple[list[tuple[str, int]], tuple[str, ...]] | None:
    """Reads the classes of the images of `folder` from the `labels.csv` in it or beside it; None without one.

    Returns the files, relative to `folder`, each with its class, and the class names (none if classes are numbers).

    Its header has `file` and one of `class_index`, `label` and `class`. Whole numbers are class indices; anything
    else is a class name, and the sorted names are the classes. A file is relative to `folder` or to its `images`
    subfolder. The file beside it may list the images of several folders: those of other folders are skipped, and
    a file that lists none of this folder is ignored. Images that are not listed are left out.

    Raises:
        DeployError: a column, a class or a listed image is missing, or an image is listed twice.
    """
    own, shared = folder / LABEL_FILE, folder.resolve().parent / LABEL_FILE
    path = own if own.is_file() else shared
    if not path.is_file():
        return None
    rows = _read_rows(path)
    found = [_locate(folder, row.get("file") or "") for row in rows]
    if path is shared and not any(found):
        return None
    indices, labels = _classes(rows, path)
    files = [(file, index) for file, index in zip(found, indices, strict=True) if file is not None]
    if path is own and len(files) < len(rows):
        missing = [row["file"] for row, file in zip(rows, found, strict=True) if file is None]
        raise DeployError(
            f"{path} lists {len(missing)} images, the first {missing[0]!r}, that are not in {folder} or its `images` "
            "subfolder: expected all of them there; add them, or take their lines out"
        )
    twice = [file for file, count in Counter(file for file, _ in files).items() if count > 1]
    if twice:
        raise DeployError(f"{path} lists {twice[0]!r} twice: expected every image once; take one of the lines out")
    return files, labels


def _read_rows(path: Path) -> list[dict[str, str]]:
    try:
        text = read_text(path)
        budget().check("members", text.count("\n"), path)
        return list(csv.DictReader(io.StringIO(text, newline="")))
    except OverLimit:
        raise
    except UNREADABLE as error:
        raise DamagedFile(f"{path} cannot be read ({error}): expected a CSV file in UTF-8 with a header") from error


def _locate(folder: Path, file: str) -> str | None:
    """Returns the path of `file` relative to `folder`; None if it does not exist."""
    candidates = [file, f"images/{file}", file.removeprefix(f"{folder.resolve().name}/")]
    return next((candidate for candidate in candidates if file and (folder / candidate).is_file()), None)


def _classes(rows: list[dict[str, str]], path: Path) -> tuple[list[int], tuple[str, ...]]:
    columns = [name for name in rows[0] if name] if rows else []
    column = next((name for name in COLUMNS if name in columns), None)
    if rows and (column is None or "file" not in columns):
        raise DeployError(
            f"{path} has the columns {', '.join(columns)}: expected `file` and one of {', '.join(COLUMNS)}"
        )
    texts = [(row.get(column or "") or "").strip() for row in rows]
    if all(_is_whole_number(text) for text in texts):
        return [check_label(int(text[:LONGEST]), f"{path} line {line}") for line, text in enumerate(texts, 2)], ()
    for line, text in enumerate(texts, 2):
        if not text or (column == "class_index" and not _is_whole_number(text)):
            expected = "a class index" if column == "class_index" else "a class"
            raise DeployError(f"{path} line {line} has {text!r} for {column}: expected {expected} in every line")
    labels = sorted(set(texts))
    index = {label: number for number, label in enumerate(labels)}
    return [index[text] for text in texts], tuple(labels)


def _is_whole_number(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit()
