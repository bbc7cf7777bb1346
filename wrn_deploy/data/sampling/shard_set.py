"""What the shards of one job say of themselves, and whether they are the whole job; the standard library only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wrn_deploy.data.sampling.block import Block
from wrn_deploy.errors import DeployError, UsageError

__all__ = ["SUFFIX", "ShardHeader", "ShardResult", "check_shards", "find_shard_files", "shard_file"]

SUFFIX = ".npz"
SHOWN = 5  # missing shards that an error names
# Why a difference in this part of the recipe matters.
REASONS = {
    "processor": "; the last bits of activations depend on the type of the CPU: run all shards on machines of one type",
    "gpu": "; the last bits of logits depend on the GPU and its driver: run all shards on GPUs of one type",
    "tools": "; the last bits of activations depend on the versions: use the same ones for all shards",
    "settings": "; the last bits of logits depend on the number of threads: give --threads N for all shards",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardHeader:
    """What a shard's result came from.

    Attributes:
        kind: the step, as in "calibration".
        format: the version of the file's format.
        block: which of the shards it is.
        recipe: in JSON types, all that must be the same in every shard.
        allowed: how many corrupt images all shards together may have.
        corrupt: the names of its corrupt images, which were left out.
    """

    kind: str
    format: int
    block: Block
    recipe: Mapping[str, Any]
    allowed: int
    corrupt: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardResult:
    """The file of a shard, which shard it is, how many images it has, and the names of those left out as corrupt."""

    file: Path
    block: Block
    images: int
    corrupt: tuple[str, ...]


def shard_file(folder: Path, kind: str, block: Block) -> Path:
    """The file of a shard: its name sorts by the shard's number, and a second run replaces that of the first."""
    digits = len(str(block.count - 1))
    return folder / f"{kind}-{block.index:0{digits}}-of-{block.count}{SUFFIX}"


def find_shard_files(paths: Sequence[Path], kind: str) -> list[Path]:
    """The files that --merge names: files as they are, and those of this kind in folders.

    Raises:
        UsageError: there are none.
    """
    found = [file for path in paths for file in (sorted(path.glob(f"{kind}-*{SUFFIX}")) if path.is_dir() else [path])]
    if not found:
        named = ", ".join(map(str, paths))
        raise UsageError(
            f"--merge: no files {kind}-*{SUFFIX} in {named}: expected the files that --shard wrote, or folders of them"
        )
    return found


def check_shards(headers: Mapping[str, ShardHeader], kind: str) -> list[str]:
    """Returns the names of the shards by their numbers, if they are the whole job.

    Args:
        headers: those of all shards, by name; the names are for errors.
        kind: the step that they must be of.

    Raises:
        DeployError: a shard is of another step or job, is missing or doubled, or there are too many corrupt images.
    """
    first, wanted = next(iter(headers.items()))
    for name, header in headers.items():
        if header.kind != kind:
            raise DeployError(f"{name} is a shard of {header.kind}: expected {kind}; leave it out")
        if header.block.count != wanted.block.count:
            raise DeployError(
                f"{name} is shard {header.block}, and {first} is shard {wanted.block}: expected the shards of one job; "
                "leave those of the other out"
            )
        found = next(_differences(_comparable(wanted), _comparable(header), ""), None)
        if found is not None:
            field, before, after = found
            raise DeployError(
                f"{name} was made with another recipe than {first} ({field}: {after!r:.200}, not {before!r:.200}): "
                f"expected the same{REASONS.get(field.partition('.')[0], '; leave it out, or run its shard again')}"
            )
    _check_numbers(headers)
    corrupt = [name for header in headers.values() for name in header.corrupt]
    if len(corrupt) > wanted.allowed:
        raise DeployError(
            f"{len(corrupt)} corrupt images in all shards ({', '.join(corrupt[:SHOWN])}"
            f"{', ...' if len(corrupt) > SHOWN else ''}), {wanted.allowed or 'none'} allowed: fix or remove them, or "
            "run the shards with a higher --max-corrupt"
        )
    return sorted(headers, key=lambda name: headers[name].block.index)


def _check_numbers(headers: Mapping[str, ShardHeader]) -> None:
    names = dict[int, str]()
    for name, header in headers.items():
        other = names.setdefault(header.block.index, name)
        if other != name:
            raise DeployError(f"{name} and {other} are both shard {header.block}: expected one; leave one of them out")
    count = next(iter(headers.values())).block.count
    missing = [index for index in range(count) if index not in names]
    if missing:
        shown = ", ".join(f"{index}/{count}" for index in missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
        raise DeployError(
            f"{len(missing)} of {count} shards are missing ({shown}): run them with --shard, and merge again"
        )


def _comparable(header: ShardHeader) -> dict[str, Any]:
    return {**header.recipe, "format": header.format, "corrupt images allowed": header.allowed}


def _differences(before: Any, after: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """The fields that differ, each with both values; nested fields as in "tools.numpy"."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}):
            yield from _differences(before.get(key), after.get(key), f"{path}.{key}" if path else key)
    elif before != after:
        yield path, before, after
