"""Lists the images of a folder, what was left out, and no file that a link brings in from outside; no Pillow.

A data set may come from a stranger: a link in it must not bring the user's other files into a result or an error.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wrn_deploy.errors import DamagedFile
from wrn_deploy.files.budget import budget

__all__ = [
    "IMAGE_SUFFIXES", "LINK_REMEDY", "NO_CLASSES", "OTHER_SUFFIXES", "Listing", "check_inside", "holds_class",
    "is_image", "is_inside", "list_images", "subfolders",
]  # fmt: skip

IMAGE_SUFFIXES = frozenset({
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".jfif", ".jif", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm", ".png",
    ".pnm", ".ppm", ".tif", ".tiff", ".webp",
})  # fmt: skip
# What lies beside images and is none: its absence from a data set surprises nobody.
OTHER_SUFFIXES = frozenset({
    ".csv", ".db", ".html", ".ini", ".json", ".log", ".mat", ".md", ".npy", ".npz", ".pdf", ".pickle", ".pkl", ".py",
    ".rst", ".sh", ".tsv", ".txt", ".xml", ".yaml", ".yml",
})  # fmt: skip
NO_CLASSES = ("__MACOSX",)  # what a Mac adds to an archive
SHOWN = 3
LINK_REMEDY = (
    "use the folder that contains the files, copy them, or, if you trust it, follow links with `wrn-deploy --limit "
    "links=1 ...`"
)


@dataclass(slots=True)
class Listing:
    """Paths relative to the folder, sorted folder by folder: images, other files, links that are not followed."""

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    hidden: int = 0

    def notes(self, folder: Path) -> tuple[str, ...]:
        """Says what was left out of `folder`, with the first names."""
        found = []
        if self.others:
            found.append(
                f"{folder}: skipped {_counted(self.others, 'file')} without an image suffix: if they are images, name "
                "them by their format, such as x.jpg, or save them as JPEG or PNG"
            )
        if self.links:
            found.append(
                f"{folder}: skipped {_counted(self.links, 'link')} to folders or out of this one: {LINK_REMEDY}"
            )
        return tuple(found)


def list_images(root: Path, start: Path, *, deep: bool = True) -> Listing:
    """Lists the files in `start`, a folder in `root`, and with `deep` in the folders below; hidden ones are skipped.

    A link is followed if it leads to a file in `root`. The paths are relative to `root`.

    Raises:
        DamagedFile: a folder cannot be read, or they are nested too deep.
    """
    listing = Listing()
    for path, entry in _walk(root, start.relative_to(root).as_posix(), listing, deep=deep):
        suffix = _suffix(entry.name)
        if suffix in IMAGE_SUFFIXES and entry.is_file():
            listing.images.append(path)
        elif suffix not in OTHER_SUFFIXES:
            listing.others.append(path)
    return listing


def holds_class(root: Path, folder: Path) -> bool:
    """Whether a subfolder is a class: it holds what may be an image, or no file at all; stops at the first."""
    if folder.name in NO_CLASSES:
        return False
    listing, is_empty = Listing(), True
    for _, entry in _walk(root, folder.relative_to(root).as_posix(), listing):
        if _suffix(entry.name) not in OTHER_SUFFIXES:
            return True
        is_empty = False
    return bool(listing.links) or (is_empty and not listing.hidden)


def subfolders(root: Path, folder: Path) -> list[Path]:
    """Returns the sorted subfolders, without hidden ones and links that are not followed."""
    found = (path for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir())
    return sorted(path for path in found if not path.is_symlink() or _is_followed(path, root))


def is_image(path: Path) -> bool:
    """Whether the file is named like an image and is not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def is_inside(path: Path, root: Path) -> bool:
    """Whether `path`, links followed, lies in `root`, or the budget allows for links.

    The files of Hugging Face's cache are links to the blobs beside their folder, and count as inside.
    """
    if budget().links:
        return True
    resolved = os.path.realpath(root)
    snapshots = Path(resolved).parent
    if snapshots.name == "snapshots" and (snapshots.parent / "blobs").is_dir():
        resolved = str(snapshots.parent)
    return Path(os.path.realpath(path)).is_relative_to(resolved)


def check_inside(root: Path, files: Sequence[Path]) -> None:
    """Checks that no file of the data folder `root` is a link that leads out of it.

    Raises:
        DamagedFile: one is.
    """
    outside = next((file for file in files if file.exists() and not is_inside(file, root)), None)
    if outside is not None:
        raise DamagedFile(f"{outside} leads out of {root} through a link: expected the file itself; {LINK_REMEDY}")


def _walk(
    root: Path, folder: str, listing: Listing, *, deep: bool = True, above: tuple[str, ...] = ()
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yields the files, those of a folder before those below; adds what is not followed to `listing`."""
    above = (*(above or (os.path.realpath(root),)), os.path.realpath(root / folder))
    budget().check("nesting", len(above), root)
    try:
        with os.scandir(root / folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise DamagedFile(f"{root / folder} cannot be listed ({error.strerror}): expected a readable folder") from error
    below = []
    for entry in entries:
        path = entry.name if folder == "." else f"{folder}/{entry.name}"
        if entry.name.startswith("."):
            listing.hidden += 1
        elif entry.is_symlink() and not _is_followed(root / path, root):
            listing.links.append(path)
        elif entry.is_dir():
            below.append(path)
        else:
            yield path, entry
    for path in below if deep else ():
        if os.path.realpath(root / path) not in above:  # a link to a folder above would never end
            yield from _walk(root, path, listing, above=above)


def _is_followed(link: Path, root: Path) -> bool:
    """Whether a link is followed; one to a folder could lead to the same images again and again, and is not."""
    return bool(budget().links) or (link.is_file() and is_inside(link, root))


def _suffix(name: str) -> str:
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def _counted(names: Sequence[str], kind: str) -> str:
    shown = ", ".join(repr(name) for name in names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    return f"{len(names)} {kind}{'s' if len(names) > 1 else ''} ({shown})"
