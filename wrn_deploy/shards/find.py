"""Finds the shards of a data set: files that can each be opened alone, or N images of anything else, in order."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from wrn_deploy.data import OpenedSource, Role, find_files, open_data
from wrn_deploy.data.containers.listing import IMAGE_SUFFIXES
from wrn_deploy.data.containers.shards import expand_pattern
from wrn_deploy.data.decoding.decode import Encoded
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.files.text import read_text
from wrn_deploy.shards.address import check_address, is_address, without_secrets
from wrn_deploy.shards.filesystem import list_files, open_filesystem, read_object, storage_errors
from wrn_deploy.shards.found import Shard, ShardSet

__all__ = ["as_text", "digest_of_names", "find_shards", "is_list", "listed_images", "names_of"]

LIST_SUFFIXES = (".txt", ".lst")
# Of the files at an address, the first kind that is there is read.
CONTAINERS = {"webdataset": (".tar", ".tar.gz", ".tgz"), "parquet": (".parquet",)}
IMAGES = tuple(sorted(IMAGE_SUFFIXES))


def find_shards(data: str, images_per_shard: int) -> ShardSet:
    """Returns the shards of a data set; none of its images is read, unless they are all in one file.

    Args:
        data: as for `open_data`; or a list of paths and addresses, one per line (.txt or .lst); or an address of any
            of these: a file, a folder, or a pattern with `{000..099}` or `*`.
        images_per_shard: for images that are not in files which can be opened alone.

    Raises:
        UsageError: less than one image per shard; an address of another scheme, or with a secret in it.
        DeployError: there is no such data, or it has no images.
        MachineError: a package is not installed.
    """
    if images_per_shard < 1:
        raise UsageError(f"{images_per_shard} images per shard: expected at least 1")
    if is_list(data):
        return _in_blocks(data, listed_images(data), images_per_shard)
    if is_address(data):
        return _find_stored(data, images_per_shard)
    found = find_files(data, Role.TEST)
    if found is not None:
        files = {path.as_posix(): path.stat().st_size for path in found.files}
        return _of_files(data, files, found.format, found.notes)
    source = open_data(data, Role.TEST)
    return ShardSet(
        data=data,
        shards=_blocks(len(source), images_per_shard, _short_name(data)),
        images=digest_of_names(names_of(source)),
        notes=source.notes,
    )


def is_list(data: str) -> bool:
    """Whether it is a list of images: a text file, by its name."""
    return data.lower().endswith(LIST_SUFFIXES) and (is_address(data) or Path(data).is_file())


def listed_images(data: str) -> list[str]:
    """Returns the images of a list, or the image files at an address of a folder: paths, or addresses.

    Paths in a list are relative to its folder, and so are the names in a list that is itself at an address.

    Raises:
        UsageError: an address is of another scheme, or has a secret in it; the text names the line.
        DeployError: the list cannot be read, or has no images.
    """
    if not is_list(data):
        found = list_files(data, deep=True)
        names = [name for name in found if name.lower().endswith(IMAGES) and _is_shown(name)]
        return [f"{data.rstrip('/')}/{name}" for name in names] or [data]  # or it is one image
    if is_address(data):
        base = f"{data.rpartition('/')[0]}/"
        lines = _decoded(read_object(check_address(data), "text_bytes"), data).splitlines()
    else:
        base, lines = "", read_text(data).splitlines()
    images = []
    for number, line in enumerate(lines, 1):
        name = line.strip()
        if not name:
            continue
        try:
            images.append(check_address(name) if is_address(name) else f"{base}{name}")
        except UsageError as error:
            raise UsageError(f"line {number} of {without_secrets(data)}: {error}") from None
    if not images:
        raise DeployError(f"{data} lists no images: expected a path or an address per line")
    return images


def names_of(source: OpenedSource) -> Iterable[str]:
    """The names of a source's images, if they are files; else only the number of images and the first name."""
    first = next(source.items())
    if isinstance(first.load, Encoded) and isinstance(first.load.content, Path):
        return (item.name for item in source.items())
    return [f"{len(source)} images", first.name]


def digest_of_names(names: Iterable[str]) -> str:
    """Returns the sha256 of the names, in their order."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def as_text(name: str) -> str:
    """The name with an escape for each byte that is not UTF-8, as parts and records need it."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _find_stored(data: str, images_per_shard: int) -> ShardSet:
    """The shards at an address."""
    scheme, _, place = check_address(data).partition("://")
    if "{" in place:
        wanted = [f"{scheme}://{path.as_posix()}" for path in expand_pattern(place)]
        files = _sizes(data, wanted)
    elif "*" in place:
        filesystem, path = open_filesystem(data)
        with storage_errors(data):
            found = filesystem.glob(path, detail=True)
        files = {f"{scheme}://{name.lstrip('/')}": int(found[name].get("size") or 0) for name in sorted(found)}
    else:
        files = {f"{data.rstrip('/')}/{name}": size for name, size in list_files(data, deep=True).items()}
        if not files:
            files = {data: _size(data)}
    for format_name, endings in CONTAINERS.items():
        chosen = [address for address in files if address.lower().endswith(endings) and _is_shown(address)]
        if chosen:
            return _of_files(data, {address: files[address] for address in chosen}, format_name)
    images = [address for address in files if address.lower().endswith(IMAGES) and _is_shown(address)]
    if not images:
        raise DeployError(f"{data} has no images: expected .tar or .parquet files, images, or a list of images (.txt)")
    if "*" in place or "{" in place:
        raise DeployError(f"{data} matches images: expected .tar or .parquet files; give the folder, or a list (.txt)")
    return _in_blocks(data, images, images_per_shard)


def _sizes(data: str, wanted: Sequence[str]) -> dict[str, int]:
    """The sizes of files at addresses, by one listing of their folder."""
    folder = posixpath.commonpath([posixpath.dirname(address.partition("://")[2]) for address in wanted])
    place = f"{data.partition('://')[0]}://{folder}"
    there = {f"{place}/{name}": size for name, size in list_files(place, deep=True).items()}
    missing = [address for address in wanted if address not in there]
    if missing:
        raise DeployError(
            f"{data} names {len(wanted)} shards, and {len(missing)} are missing, the first {missing[0]}: expected all "
            "of them; change the numbers, or upload it again"
        )
    return {address: there[address] for address in wanted}


def _size(address: str) -> int:
    filesystem, path = open_filesystem(address)
    try:
        with storage_errors(address):
            return int(filesystem.info(path)["size"] or 0)
    except FileNotFoundError as error:
        raise DeployError(f"nothing is stored at {address}: expected a file or a folder with files") from error


def _of_files(data: str, files: Mapping[str, int], format_name: str, notes: tuple[str, ...] = ()) -> ShardSet:
    """A shard for each path or address, with its size."""
    places = [file.rpartition("://")[2] for file in files]
    folder = posixpath.commonpath([posixpath.dirname(place) for place in places])
    shards = [
        Shard(
            number=number,
            name=as_text(place.removeprefix(folder).lstrip("/")),
            format=format_name,
            file=file,
            size_bytes=size,
        )
        for number, (place, (file, size)) in enumerate(zip(places, files.items(), strict=True))
    ]
    return ShardSet(data=data, shards=tuple(shards), notes=notes)


def _in_blocks(data: str, images: Sequence[str], images_per_shard: int) -> ShardSet:
    shards = _blocks(len(images), images_per_shard, _short_name(data))
    place = f"{data.rpartition('/')[0]}/"  # names below it are the same on every machine
    return ShardSet(data=data, shards=shards, images=digest_of_names(name.removeprefix(place) for name in images))


def _blocks(images: int, images_per_shard: int, name: str) -> tuple[Shard, ...]:
    starts = range(0, images, images_per_shard)
    return tuple(
        Shard(
            number=number,
            name=f"{name} images {start} to {min(start + images_per_shard, images) - 1}",
            start=start,
            stop=min(start + images_per_shard, images),
        )
        for number, start in enumerate(starts)
    )


def _short_name(data: str) -> str:
    return as_text(data.rstrip("/").rpartition("/")[2])


def _is_shown(name: str) -> bool:
    return not name.rpartition("/")[2].startswith(".")


def _decoded(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DeployError(f"{name} is not text in UTF-8 ({error}): expected a path or an address per line") from error
