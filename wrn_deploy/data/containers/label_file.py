"""Reads `labels.csv`, which lists the class of each file of an image folder; the standard library only."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from wrn_deploy.data.containers.listing import check_inside, is_inside, list_images
from wrn_deploy.data.labels import class_index, is_whole, order_names
from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.files.budget import budget
from wrn_deploy.files.damage import DAMAGE
from wrn_deploy.files.regular import open_regular
from wrn_deploy.files.text import read_text

__all__ = ["LABEL_FILE", "LabelFile", "read_label_file"]

LABEL_FILE = "labels.csv"
COLUMNS = ("class_index", "label", "class")
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
MOST_ROWS, MOST_CELLS = 3_000_000, 10_000_000  # ImageNet has 1.3 million images; a row takes 350 bytes of memory
SEPARATORS = {";": "semicolons", "\t": "tabs"}


@dataclass(frozen=True, slots=True)
class LabelFile:
    """The files, relative to the folder, each with its class; the class names (none if classes are numbers)."""

    files: list[tuple[str, int | None]]
    labels: tuple[str, ...]
    notes: tuple[str, ...]


def read_label_file(folder: Path) -> LabelFile | None:
    """Reads the classes of the images of `folder` from the `labels.csv` in it or beside it; None without one.

    Its header has `file` and one of `class_index`, `label` and `class`. Whole numbers, also as 10.0, are class indices;
    anything else is a class name, and the names are ordered by `order_names`. A file is relative to `folder` or to its
    `images` subfolder, and never outside. The file beside it may list the images of several folders: those of other
    folders are skipped, and a file that lists none of this folder is ignored. Images that are not listed are left out.

    Raises:
        DeployError: a column, a class or a listed image is missing, an image is listed twice, or it lies outside.
    """
    own, shared = folder / LABEL_FILE, folder.resolve().parent / LABEL_FILE
    path = own if own.is_file() else shared
    if not path.is_file():
        return None
    check_inside(path.parent, [path])
    rows = _read_rows(path)
    find = _Finder(folder)
    found = [find(row.get("file") or "") for _, row in rows]
    if path is shared and not any(found):
        return None
    if not rows:
        raise DeployError(f"{path} lists no images: expected a header, and one line per image")
    indices, labels = _classes(rows, path)
    files = [(file, index) for file, index in zip(found, indices, strict=True) if file is not None]
    if path is own and len(files) < len(rows):
        names = [row.get("file") or "" for _, row in rows]
        raise _missing(path, folder, [name for name, file in zip(names, found, strict=True) if file is None])
    twice = [file for file, count in Counter(file for file, _ in files).items() if count > 1]
    if twice:
        raise DeployError(f"{path} lists {twice[0]!r} twice: expected every image once; remove one of the lines")
    return LabelFile(list(files), labels, _unlisted(path, folder, {file for file, _ in files}))


class _Finder:
    """Finds listed files in a folder, and none that is outside it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._prefix = folder, f"{folder.resolve().name}/"
        self._inside: dict[Path, bool] = {}

    def __call__(self, file: str) -> str | None:
        """Returns the path of `file` relative to the folder; None if it does not exist there.

        A list made on Windows has backslashes.
        """
        for written in dict.fromkeys((file, file.strip(), file.strip().replace("\\", "/"))):
            for candidate in (written, f"images/{written}", written.removeprefix(self._prefix)):
                if written and self._exists(PurePosixPath(candidate)):
                    return str(PurePosixPath(candidate))
        return None

    def _exists(self, file: PurePosixPath) -> bool:
        if file.is_absolute() or ".." in file.parts:
            return False
        path = self._folder / file
        try:
            return path.is_file() and self._holds(path.parent) and (not path.is_symlink() or self._holds(path))
        except (OSError, ValueError):  # a name that no file can have
            return False

    def _holds(self, path: Path) -> bool:
        if path not in self._inside:
            self._inside[path] = is_inside(path, self._folder)
        return self._inside[path]


def _missing(path: Path, folder: Path, files: Sequence[str]) -> DeployError:
    outside = next((file for file in files if _leads_out(folder, file)), None)
    if outside is not None:
        return DeployError(
            f"{path} names {outside!r}, which is outside {folder}: expected files in this folder; do not trust "
            "this list, or copy the images into the folder"
        )
    return DeployError(
        f"{path} lists {len(files)} images, the first {files[0]!r}, that are not in {folder} or its `images` "
        "subfolder: expected all of them there; add them, or remove their lines"
    )


def _leads_out(folder: Path, file: str) -> bool:
    try:
        return bool(file) and not is_inside(folder / file.replace("\\", "/"), folder)
    except (OSError, ValueError):
        return False


def _unlisted(path: Path, folder: Path, listed: set[str]) -> tuple[str, ...]:
    there = list_images(folder, folder)
    left = [file for file in there.images if file not in listed]
    if not left:
        return ()
    return (f"{folder}: skipped {len(left)} images that {path} does not list, the first {left[0]!r}",)


def _read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with open_regular(path) as stream:
            if stream.read(2) in UTF_16:
                raise DamagedFile(f"{path} is text in UTF-16: expected UTF-8; save it again as UTF-8")
        text = read_text(path)
        budget().check("members", text.count("\n"), path)
        header = next(csv.reader(io.StringIO(text, newline="")), [])
        lines = text.count("\n") + text.count("\r")
        if lines > MOST_ROWS or lines * len(header) > MOST_CELLS:
            raise DamagedFile(
                f"{path} has {lines:,} lines of {len(header):,} columns: expected at most {MOST_ROWS:,} lines and "
                f"{MOST_CELLS:,} fields; split it and the folder"
            )
        used = next((mark for mark in SEPARATORS if len(header) == 1 and mark in header[0]), None)
        if used is not None:
            raise DeployError(
                f"{path} has a header separated by {SEPARATORS[used]}, {header[0]!r}: expected commas; save it again "
                "as CSV with commas"
            )
        rows = csv.DictReader(io.StringIO(text, newline=""), [name.strip() for name in header], skipinitialspace=True)
        next(rows, None)  # the header
        return [(rows.line_num, row) for row in rows if any(row.values())]
    except DAMAGE as error:
        raise DamagedFile(f"{path} cannot be read ({error}): expected a CSV file in UTF-8 with a header") from error


def _classes(rows: list[tuple[int, dict[str, str]]], path: Path) -> tuple[list[int], tuple[str, ...]]:
    columns = [name for name in rows[0][1] if name]
    column = next((name for name in COLUMNS if name in columns), None)
    if column is None or "file" not in columns:
        raise DeployError(
            f"{path} has the columns {', '.join(columns)}: expected `file` and one of {', '.join(COLUMNS)}"
        )
    texts = [(line, (row.get(column) or "").strip()) for line, row in rows]
    if all(is_whole(text) for _, text in texts):
        found = (class_index(text, f"{path} line {line}") for line, text in texts)
        return [index for index in found if index is not None], ()
    for line, text in texts:
        if not text or (column == "class_index" and not is_whole(text)):
            expected = "a class index" if column == "class_index" else "a class"
            raise DeployError(f"{path} line {line} has {text[:40]!r} for {column}: expected {expected} in every line")
    labels = order_names(text for _, text in texts)
    index = {label: number for number, label in enumerate(labels)}
    return [index[text] for _, text in texts], labels
