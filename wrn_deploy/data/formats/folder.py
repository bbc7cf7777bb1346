"""A folder of image files, labelled by class subfolders or by a `labels.csv`, or not at all; no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from wrn_deploy.data import Item, Role
from wrn_deploy.data.containers.label_file import LABEL_FILE, read_label_file
from wrn_deploy.data.decoding.decode import IMAGE_SUFFIXES, Encoded
from wrn_deploy.data.sources import LazySource, indexed_source
from wrn_deploy.errors import DeployError

__all__ = ["SPLIT_NAMES", "is_image", "open_files", "open_source", "recognise"]

SPLITS = {Role.TRAIN: ("train", "training"), Role.TEST: ("test", "val", "validation", "valid")}  # the first one wins
SPLIT_NAMES = (*SPLITS[Role.TRAIN], *SPLITS[Role.TEST])


def recognise(path: Path) -> bool:
    """Recognises a folder with a label file, or with images in it or up to two folders below."""
    return path.is_dir() and ((path / LABEL_FILE).is_file() or _holds_images(path, 2))


def open_source(name: str, role: Role) -> LazySource:
    """Opens an image folder: the label file decides, then `train` and `test` subfolders, then class subfolders.

    The sorted names of the subfolders are the classes, an empty one included; images may lie deeper in them. With
    `train` and `test` (or `val`) subfolders the classes are those of both, so that each class has the same index in
    either. Files and folders whose names start with a dot are skipped.

    Raises:
        DeployError: the label file is wrong, the split is missing, or images lie beside class subfolders.
    """
    root = Path(name)
    listed = read_label_file(root)
    if listed is not None:
        files, labels = listed
        return open_files(name, root, files, labels)
    folders = _subfolders(root)
    splits = [folder for folder in folders if folder.name.lower() in SPLIT_NAMES and _holds_classes(folder)]
    if splits:
        classes = sorted({folder.name for split in splits for folder in _subfolders(split)})
        return _open_classes(name, _choose_split(splits, role, name), classes)
    if [folder.name for folder in folders] == ["images"] and not _holds_images(root, 0):
        return _open_flat(name, folders[0])
    if _holds_classes(root):
        return _open_classes(name, root, [folder.name for folder in folders])
    return _open_flat(name, root)


def open_files(
    name: str, root: Path, files: Sequence[tuple[str, int | None]], labels: tuple[str, ...] = ()
) -> LazySource:
    """Returns a source of image files of any size: `files` are relative to `root`, each with its class, or None."""

    def item(index: int) -> Item:
        file, label = files[index]
        return Item(file, label, Encoded(root / file, str(root / file)))

    return indexed_source(name, len(files), item, labels=labels)


def _open_flat(name: str, root: Path) -> LazySource:
    return open_files(name, root, [(path.name, None) for path in sorted(root.iterdir()) if is_image(path)])


def _open_classes(name: str, root: Path, classes: list[str]) -> LazySource:
    if _holds_images(root, 0):
        raise DeployError(
            f"{root} holds both images and folders of images: expected class subfolders alone, or images alone; move "
            f"the images into a class subfolder, or list the files and their classes in a {LABEL_FILE}"
        )
    files: list[tuple[str, int | None]] = []
    for label, class_name in enumerate(classes):
        for parent, folders, names in os.walk(root / class_name):
            folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
            paths = (Path(parent, name) for name in sorted(names))
            files.extend((path.relative_to(root).as_posix(), label) for path in paths if is_image(path))
    return open_files(name, root, files, tuple(classes))


def _choose_split(splits: list[Path], role: Role, name: str) -> Path:
    for wanted in SPLITS[role]:
        for split in splits:
            if split.name.lower() == wanted:
                return split
    raise DeployError(
        f"{name} has only the split {', '.join(split.name for split in splits)}: expected a folder "
        f"{' or '.join(SPLITS[role])} with class subfolders too; give {splits[0]} itself to use it for this"
    )


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _holds_classes(folder: Path) -> bool:
    return any(_holds_images(subfolder, 1) for subfolder in _subfolders(folder))


def _holds_images(folder: Path, depth: int) -> bool:
    """Whether an image is in `folder`, or in a folder up to `depth` below; stops at the first."""
    if any(is_image(path) for path in folder.iterdir()):
        return True
    return depth > 0 and any(_holds_images(subfolder, depth - 1) for subfolder in _subfolders(folder))


def is_image(path: Path) -> bool:
    """Whether the file is named like an image and is not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
