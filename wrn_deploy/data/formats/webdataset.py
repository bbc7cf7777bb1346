"""WebDataset's tar shards: the files of a sample are adjacent, and share the name up to the first dot; no torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from wrn_deploy.data import ImageSource, Item, Role
from wrn_deploy.data.containers.listing import IMAGE_SUFFIXES, OTHER_SUFFIXES, Listing
from wrn_deploy.data.containers.shards import by_split, find_shards, is_pattern
from wrn_deploy.data.containers.tar_stream import Member, is_tar, members
from wrn_deploy.data.decoding.decode import Encoded
from wrn_deploy.data.foreign import check_known
from wrn_deploy.data.labels import class_index
from wrn_deploy.data.sources import StreamPart, stream_source
from wrn_deploy.data.splits import choose_split
from wrn_deploy.errors import DamagedFile, DeployError
from wrn_deploy.files.text import parse_json, read_text

__all__ = ["open_source", "recognise", "shard_files"]

ENDINGS = (".tar", ".tar.gz", ".tgz")
LABEL_KEYS = ("label", "cls", "class_index")  # of a sample's .json
CLASS_NAMES = "classnames.txt"
LABEL_BYTES = 16 * 2**20  # of a sample's record: its values take many times as much memory


def recognise(path: Path) -> bool:
    """Recognises a tar file, a folder of them, or a pattern such as `train-{000..099}.tar`."""
    if path.is_dir():
        return bool(_files_in(path))
    return is_tar(path) if path.exists() else is_pattern(path, ENDINGS)


def open_source(name: str, role: Role, split: str | None) -> ImageSource:
    """Opens shards: all that a pattern names, one file, or those of a folder.

    If names in a folder have the word train, test or val in them, those of the role are taken. Every shard's headers
    are read, which counts the images and finds truncated files. A sample's label is in its `.cls`, or in its `.json`
    as `label`, `cls` or `class_index`; the names of the classes in a `classnames.txt` beside the shards, one a line.

    Raises:
        DeployError: a shard is missing or damaged, or the files of a sample are not adjacent.
    """
    path = Path(name)
    files, notes = shard_files(path, role, split)
    labels = _class_names(files[0].parent / CLASS_NAMES)
    left = Listing()
    parts = [_open_shard(file, left.others) for file in files]
    return stream_source(name, parts, labels=labels, notes=(*notes, *left.notes(path)))


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.lower().endswith(ENDINGS) and path.name[0] != ".")


def shard_files(path: Path, role: Role, split: str | None) -> tuple[list[Path], tuple[str, ...]]:
    """Returns the shards that `open_source` reads, each of which it also opens alone, and what to say of the choice."""
    groups = by_split(path, _files_in(path)) if path.is_dir() else {}
    words = {word: files for word, files in groups.items() if word is not None}
    if words:
        choice = choose_split(words, role, split, str(path), lambda word: _is_labelled(words[word][0]))
        return words[choice.split], choice.notes
    if split is not None:
        raise DeployError(f"{path} has no split {split!r}: expected a folder of shards named by their split")
    return groups.get(None) or ([path] if path.exists() else find_shards(str(path))), ()


def _is_labelled(file: Path) -> bool:
    """Whether the first sample has a class; -1 stands for none."""
    sample = next((sample for sample in _samples(file, contents=True) if sample.image), None)
    return sample is not None and (bool(sample.record) if not sample.label else sample.label.strip() != b"-1")


def _class_names(file: Path) -> tuple[str, ...]:
    try:
        return tuple(line.strip() for line in read_text(file.name, inside=file.parent).splitlines() if line.strip())
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise DamagedFile(f"{file} cannot be read ({error}): expected class names, one per line") from error


@dataclass(slots=True, kw_only=True)
class _Sample:
    """The files of one sample so far; without their content if shards are only counted."""

    image: str = ""
    encoded: bytes = b""
    size_bytes: int = 0
    label: bytes = b""
    record: bytes = b""
    is_labelled: bool = False
    other: str = ""


def _open_shard(file: Path, left: list[str]) -> StreamPart:
    """Counts the images of a shard; adds the files of samples without one to `left`."""
    if not is_tar(file):
        check_known(file, "tar")
    sizes = []
    for sample in _samples(file, contents=False):
        if sample.image:
            sizes.append(sample.size_bytes)
        elif sample.other:
            left.append(f"{file.name}/{sample.other}")
    return StreamPart(len(sizes), sum(sizes), partial(_items, file))


def _items(file: Path) -> Iterator[Item]:
    for sample in filter(lambda sample: sample.image, _samples(file, contents=True)):
        name = f"{file.name}/{sample.image}"
        yield Item(name, _label(sample, name), Encoded(sample.encoded, f"{file}/{sample.image}"))


def _samples(file: Path, *, contents: bool) -> Iterator[_Sample]:
    """Yields the samples, of which some may have no image; hidden members are skipped."""
    for key, group in itertools.groupby(filter(_key, members(file)), _key):
        sample = _Sample()
        for member in group:
            _take(sample, member, file, contents=contents)
        if sample.is_labelled and not sample.image:
            raise DeployError(
                f"{file} has a label for {key.removeprefix('/')} apart from its image: expected the files of a sample "
                "side by side; pack it again with sorted names (tar --sort=name)"
            )
        yield sample


def _key(member: Member) -> str:
    """Returns the name up to its first dot; empty for a hidden file, and for one without a dot."""
    folder, _, file_name = member.name.rpartition("/")
    stem, dot, _ = file_name.partition(".")
    return f"{folder}/{stem}" if stem and dot else ""


def _take(sample: _Sample, member: Member, file: Path, *, contents: bool) -> None:
    suffix = f".{member.name.rpartition('.')[2]}".lower()
    if suffix in IMAGE_SUFFIXES:
        if sample.image:
            raise DeployError(
                f"{file} has {sample.image} and {member.name} in one sample: expected one image per sample"
            )
        sample.image, sample.size_bytes = member.name, member.size_bytes
        sample.encoded = member.read() if contents else b""
    elif suffix == ".cls":
        sample.is_labelled = True
        sample.label = _record(member) if contents else b""
    elif suffix == ".json" and contents:
        sample.record = _record(member)
    elif suffix not in OTHER_SUFFIXES:
        sample.other = member.name


def _record(member: Member) -> bytes:
    if member.size_bytes > LABEL_BYTES:
        raise DeployError(
            f"{member.name} has {member.size_bytes:,} bytes: expected a label of at most {LABEL_BYTES:,}; pack it again"
        )
    return member.read()


def _label(sample: _Sample, name: str) -> int | None:
    if sample.label:
        found: object = sample.label.decode("utf-8", "replace")
    else:
        record = (
            parse_json(sample.record.decode("utf-8-sig", "replace"), f"the .json of {name}") if sample.record else {}
        )
        found = next((record[key] for key in LABEL_KEYS if isinstance(record, dict) and key in record), None)
    index = class_index(found, name)
    if index is None and found is not None:
        raise DeployError(
            f"{name} has the label {str(found)[:40]!r}: expected a class index, such as 17; pack it again"
        )
    return index
