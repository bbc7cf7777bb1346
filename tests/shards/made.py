"""Shards of real digits, and the trained bundle that scores them, for the tests of scoring."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from wrn_deploy.bundle import Bundle
from wrn_deploy.data import Role, open_data
from wrn_deploy.pipeline.inference.example import copy_example
from wrn_deploy.pipeline.scoring.job import ScoreOptions
from wrn_deploy.progress import Silent

__all__ = [
    "Notes",
    "break_image",
    "digests_of",
    "encoded_digits",
    "example_bundle",
    "options_for",
    "pack_shard",
    "pack_shards",
    "part_files",
]


class Notes(Silent):
    """Keeps what a step notes and warns about."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def example_bundle(folder: Path) -> Bundle:
    """The trained network that comes with the package: wrn-10-1, fp32 and int8 for ONNX Runtime."""
    return copy_example(folder, Silent()).bundle


def encoded_digits(count: int) -> Iterator[tuple[bytes, int]]:
    """PNG files of test digits, and their classes."""
    for _, item in zip(range(count), open_data("digits", Role.TEST).items(), strict=False):
        stream = io.BytesIO()
        Image.fromarray(item.load()).save(stream, "PNG")
        assert item.label is not None
        yield stream.getvalue(), item.label


def pack_shard(file: Path, digits: list[tuple[bytes, int]], first: int = 0) -> None:
    """A WebDataset shard of these digits."""
    with tarfile.open(file, "w") as archive:
        for index, (content, label) in enumerate(digits, first):
            for name, data in ((f"{index:05d}.png", content), (f"{index:05d}.cls", str(label).encode())):
                header = tarfile.TarInfo(name)
                header.size = len(data)
                archive.addfile(header, io.BytesIO(data))


def pack_shards(folder: Path, shards: int, images: int) -> Path:
    """A folder of WebDataset shards, `images` digits in each."""
    folder.mkdir(parents=True, exist_ok=True)
    digits = list(encoded_digits(shards * images))
    for shard in range(shards):
        pack_shard(folder / f"digits-{shard:03d}.tar", digits[shard * images : (shard + 1) * images], shard * images)
    return folder


def options_for(data: Path | str, out: Path | str, **more: object) -> ScoreOptions:
    """Options that run the bundle on ONNX Runtime with one thread."""
    given: dict[str, object] = {"backend": "onnxruntime", "threads": 1, "batch": 8, **more}
    return ScoreOptions(data=str(data), out=str(out), **given)  # type: ignore[arg-type]


def part_files(out: Path) -> list[Path]:
    """The parts in a folder."""
    return sorted(out.glob("part-*.parquet"))


def digests_of(out: Path) -> dict[str, bytes]:
    """The content of each part by its name."""
    return {file.name: file.read_bytes() for file in part_files(out)}


def break_image(shards: Path, target: Path, count: int = 1) -> Path:
    """A copy of the shards; `count` images of the second one cannot be decoded."""
    shutil.copytree(shards, target)
    digits = [
        (b"no image" if index < count else content, label) for index, (content, label) in enumerate(encoded_digits(20))
    ]
    pack_shard(target / "digits-001.tar", digits)
    return target
