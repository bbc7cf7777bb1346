"""WebDataset's tar shards: the files of a sample are adjacent, and share the name up to the first dot; no torch."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from wrn_deploy.data import ImageSource, Item, Role, check_label
from wrn_deploy.data.containers.tar_stream import Member, is_tar, members
from wrn_deploy.data.decoding.decode import IMAGE_SUFFIXES, Encoded
from wrn_deploy.data.sources import StreamPart, stream_source
from wrn_deploy.errors import DamagedFile, DeployError, OverLimit
from wrn_deploy.files.text import parse_json, read_text

__all__ = ["open_source", "recognise"]

ENDINGS = (".tar", ".tar.gz", ".tgz")
SPLITS = {Role.TRAIN: ("train",), Role.TEST: ("test", "val", "validation")}  # words of file names; the first one wins
LABEL_KEYS = ("label", "cls", "class_index")  # of a sample's .json
CLASS_NAMES = "classnames.txt"
BRACES = re.compile(r"\{([^{}]+)\}")
RANGE = re.compile(r"(\d+)\.\.(\d+)")
MAX_SHARDS = 10**5  # LAION-400M has 41,455
LONGEST = 18  # digits
LABEL_BYTES = 16 * 2**20  # of a sample's record: its values take many times as much memory


def recognise(path: Path) -> bool:
    """Recognises a tar file, a folder of them, or a pattern such as `train-{000..099}.tar`."""
    if path.is_dir():
        return bool(_files_in(path))
    if path.exists():
        return is_tar(path)
    return bool(BRACES.search(str(path))) and path.name.lower().endswith(ENDINGS)


def open_source(name: str, role: Role) -> ImageSource:
    """Opens shards: all that a pattern names, one file, or those of a folder.

    If names in a folder have the word train, test or val in them, those of the role are taken. Every shard's headers
    are read, which counts the images and finds truncated files. A sample's label is in its `.cls`, or in its `.json`
    as `label`, `cls` or `class_index`; the names of the classes in a `classnames.txt` beside the shards, one a line.

    Raises:
        DeployError: a shard is missing or damaged, or the files of a sample are not adjacent.
    """
    path = Path(name)
    files = _choose(path, role) if path.is_dir() else [path] if path.exists() else _expand(name)
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise DeployError(
            f"{name} names {len(files)} shards, and {len(missing)} are missing, the first {missing[0]}: expected all "
            "of them; change the numbers, or download it again"
        )
    labels = _class_names(files[0].parent / CLASS_NAMES)
    return stream_source(name, [_open_shard(file) for file in files], labels=labels)


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.lower().endswith(ENDINGS) and path.name[0] != ".")


def _choose(folder: Path, role: Role) -> list[Path]:
    files = _files_in(folder)
    words = {file: set(re.split(r"[^a-z]+", file.name.lower())) for file in files}
    splits = {word for found in SPLITS.values() for word in found}
    if not any(words[file] & splits for file in files):
        return files
    for word in SPLITS[role]:
        if chosen := [file for file in files if word in words[file]]:
            return chosen
    raise DeployError(
        f"{folder} holds {', '.join(file.name for file in files[:4])}: expected shards with "
        f"{' or '.join(SPLITS[role])} in their names too; give a pattern of shards to use them for this"
    )


def _expand(pattern: str) -> list[Path]:
    """Expands braces as a shell does: `{000..012}` and `{a,b}`."""
    parts = BRACES.split(pattern)
    choices = [_choices(part, pattern) if index % 2 else [part] for index, part in enumerate(parts)]
    count = math.prod(map(len, choices))
    if count > MAX_SHARDS:
        raise _too_many(pattern, count)
    return [Path("".join(chosen)) for chosen in itertools.product(*choices)]


def _too_many(pattern: str, count: int) -> DeployError:
    return DeployError(f"{pattern} names {count:,} shards: expected at most {MAX_SHARDS:,}; give fewer at once")


def _choices(braces: str, pattern: str) -> list[str]:
    found = RANGE.fullmatch(braces)
    if not found:
        return braces.split(",")
    first, last = found.groups()
    if max(len(first), len(last)) > LONGEST or int(last) < int(first):
        raise DeployError(f"{pattern} has {{{braces}}}: expected numbers that go up, as in {{000..099}}")
    if int(last) - int(first) >= MAX_SHARDS:
        raise _too_many(pattern, int(last) - int(first) + 1)
    width = len(first) if first.startswith("0") or len(first) == len(last) else 0
    return [f"{number:0{width}}" for number in range(int(first), int(last) + 1)]


def _class_names(file: Path) -> tuple[str, ...]:
    try:
        return tuple(line.strip() for line in read_text(file).splitlines() if line.strip())
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise DamagedFile(f"{file} cannot be read ({error}): expected the classes' names, one a line") from error


@dataclass(slots=True, kw_only=True)
class _Sample:
    """The files of one sample so far; without their content if shards are only counted."""

    image: str = ""
    encoded: bytes = b""
    size_bytes: int = 0
    label: bytes = b""
    record: bytes = b""
    is_labelled: bool = False


def _open_shard(file: Path) -> StreamPart:
    sizes = [sample.size_bytes for sample in _samples(file, contents=False)]
    return StreamPart(len(sizes), sum(sizes), partial(_items, file))


def _items(file: Path) -> Iterator[Item]:
    for sample in _samples(file, contents=True):
        name = f"{file.name}/{sample.image}"
        yield Item(name, _label(sample, name), Encoded(sample.encoded, f"{file}/{sample.image}"))


def _samples(file: Path, *, contents: bool) -> Iterator[_Sample]:
    """Yields the samples with an image; other members are skipped."""
    for key, group in itertools.groupby(filter(_key, members(file)), _key):
        sample = _Sample()
        for member in group:
            _take(sample, member, file, contents=contents)
        if sample.image:
            yield sample
        elif sample.is_labelled:
            raise DeployError(
                f"{file} has a label for {key.removeprefix('/')} apart from its image: expected the files of a sample "
                "side by side; pack it again with sorted names (tar --sort=name)"
            )


def _key(member: Member) -> str:
    """Returns the name up to its first dot; empty for a hidden file, and for one without a dot."""
    folder, _, file_name = member.name.rpartition("/")
    stem, dot, _ = file_name.partition(".")
    return f"{folder}/{stem}" if stem and dot else ""


def _take(sample: _Sample, member: Member, file: Path, *, contents: bool) -> None:
    suffix = f".{member.name.rpartition('.')[2]}".lower()
    if suffix in IMAGE_SUFFIXES:
        if sample.image:
            raise DeployError(f"{file} has {sample.image} and {member.name} in one sample: expected one image a sample")
        sample.image, sample.size_bytes = member.name, member.size_bytes
        sample.encoded = member.read() if contents else b""
    elif suffix == ".cls":
        sample.is_labelled = True
        sample.label = _record(member) if contents else b""
    elif suffix == ".json" and contents:
        sample.record = _record(member)


def _record(member: Member) -> bytes:
    if member.size_bytes > LABEL_BYTES:
        raise DeployError(
            f"{member.name} has {member.size_bytes:,} bytes: expected a label of at most {LABEL_BYTES:,}; pack it again"
        )
    return member.read()


def _label(sample: _Sample, name: str) -> int | None:
    try:
        if sample.label:
            return check_label(int(sample.label), name)
        record = parse_json(sample.record.decode("utf-8-sig"), name) if sample.record else {}
        found = next((record[key] for key in LABEL_KEYS if isinstance(record, dict) and key in record), None)
        return None if found is None else check_label(int(found), name)
    except OverLimit:
        raise
    except (ValueError, TypeError, OverflowError, DamagedFile) as error:
        label = (sample.label or sample.record)[:40].decode("utf-8", "replace")
        raise DeployError(f"{name} has the label {label!r}: expected a class index, as in 17; pack it again") from error
