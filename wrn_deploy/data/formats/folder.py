"""A folder of image files, labelled by class subfolders or by a `labels.csv`, or not at all; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wrn_deploy.data import Item, Role
from wrn_deploy.data.containers.label_file import LABEL_FILE, read_label_file
from wrn_deploy.data.containers.listing import Listing, holds_class, is_image, list_images, subfolders
from wrn_deploy.data.decoding.decode import Encoded
from wrn_deploy.data.labels import order_names
from wrn_deploy.data.sources import LazySource, indexed_source
from wrn_deploy.data.splits import SPLIT_WORDS, choose_split
from wrn_deploy.errors import DeployError

__all__ = ["open_files", "open_source", "recognise"]


def recognise(path: Path) -> bool:
    """Recognises a folder with a label file, or with images in it or up to two folders below."""
    return path.is_dir() and ((path / LABEL_FILE).is_file() or _holds_images(path, path, 2))


def open_source(name: str, role: Role, split: str | None) -> LazySource:
    """Opens an image folder: the label file decides, then `train` and `test` subfolders, then class subfolders.

    The names of the subfolders are the classes, an empty one included, in the order of `order_names`; images may lie
    deeper in them. With `train` and `test` (or `val`) subfolders the classes are those of both, so that each class has
    the same index in either. Files and folders whose names start with a dot are skipped.

    Raises:
        DeployError: the label file is wrong, the split is missing, or images lie beside class subfolders.
    """
    root = Path(name)
    listed = None if split is not None and _split_folders(root) else read_label_file(root)
    if listed is not None:
        if split is not None:
            raise DeployError(f"{name} has no split {split!r}: expected none, since its {LABEL_FILE} lists all images")
        return open_files(name, root, listed.files, listed.labels, notes=listed.notes)
    splits = {word: folder for word, folder in _split_folders(root).items() if _holds_classes(folder)}
    if splits:
        chosen = choose_split(splits, role, split, name)
        classes = {folder.name for place in splits.values() for folder in _class_folders(place)}
        passed = [folder.name for word, folder in _split_folders(root).items() if word not in splits]
        notes = tuple(f"{name}: {folder} has no classes, so {chosen.split} is read" for folder in passed)
        return _open_classes(name, splits[chosen.split], classes, notes=notes if role is Role.TEST else ())
    if split is not None:
        raise DeployError(f"{name} has no split {split!r}: expected a subfolder of that name with class subfolders")
    folders = subfolders(root, root)
    if [folder.name for folder in folders] == ["images"] and not _holds_images(root, root, 0):
        return _open_flat(name, folders[0])
    if _holds_classes(root):
        return _open_classes(name, root, {folder.name for folder in _class_folders(root)})
    return _open_flat(name, root)


def open_files(
    name: str,
    root: Path,
    files: Sequence[tuple[str, int | None]],
    labels: tuple[str, ...] = (),
    *,
    notes: tuple[str, ...] = (),
) -> LazySource:
    """Returns a source of image files of any size: `files` are relative to `root`, each with its class, or None."""

    def item(index: int) -> Item:
        file, label = files[index]
        return Item(file, label, Encoded(root / file, str(root / file)))

    return indexed_source(name, len(files), item, labels=labels, notes=notes)


def _open_flat(name: str, root: Path) -> LazySource:
    listing = list_images(root, root, deep=False)
    return open_files(name, root, [(file, None) for file in listing.images], notes=listing.notes(root))


def _open_classes(name: str, root: Path, classes: set[str], *, notes: tuple[str, ...] = ()) -> LazySource:
    every = list_images(root, root, deep=False)
    if every.images:
        raise DeployError(
            f"{root} contains both images and folders of images: expected class subfolders alone, or images alone; "
            f"move the images into a class subfolder, or list the files and their classes in a {LABEL_FILE}"
        )
    labels = order_names(classes)
    files: list[tuple[str, int | None]] = []
    for label, class_name in enumerate(labels):
        if not (root / class_name).is_dir():  # a class of the other split
            continue
        found = list_images(root, root / class_name)
        files.extend((file, label) for file in found.images)
        every = Listing(every.images, every.others + found.others, every.links + found.links)
    return open_files(name, root, files, labels, notes=(*notes, *every.notes(root)))


def _split_folders(root: Path) -> dict[str, Path]:
    return {folder.name.lower(): folder for folder in subfolders(root, root) if folder.name.lower() in SPLIT_WORDS}


def _class_folders(root: Path) -> list[Path]:
    return [folder for folder in subfolders(root, root) if holds_class(root, folder)]


def _holds_classes(folder: Path) -> bool:
    return any(_holds_images(folder, subfolder, 1) for subfolder in subfolders(folder, folder))


def _holds_images(root: Path, folder: Path, depth: int) -> bool:
    """Whether an image is in `folder`, or in a folder up to `depth` below; stops at the first."""
    if any(is_image(path) for path in folder.iterdir()):
        return True
    return depth > 0 and any(_holds_images(root, subfolder, depth - 1) for subfolder in subfolders(root, folder))
