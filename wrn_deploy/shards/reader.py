"""Opens one shard after the other as a source of images, wherever they are stored; numpy only."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NoReturn, Protocol

from wrn_deploy.data import CorruptImage, ImageSource, Item, OpenedSource, Role, open_data, open_file
from wrn_deploy.data.decoding.decode import Encoded
from wrn_deploy.data.sources import LazySource, items_from
from wrn_deploy.errors import DeployError, OverLimit
from wrn_deploy.shards.address import is_address
from wrn_deploy.shards.filesystem import copy_here, read_object
from wrn_deploy.shards.find import as_text, digest_of_names, is_list, listed_images, names_of
from wrn_deploy.shards.found import Shard, ShardSet

__all__ = ["ShardReader", "open_reader"]

THREADS = 16  # that receive single images from a storage
AHEAD = 2 * THREADS  # images that are requested before they are needed


class ShardReader(Protocol):
    """Opens the shards of a data set."""

    def open(self, shard: Shard) -> contextlib.AbstractContextManager[ImageSource]:
        """The images of a shard, for the block.

        Raises:
            DamagedFile: its file is damaged.
            DeployError: it is missing, or has changed since the shards were found.
            OSError: the storage cannot be reached.
        """


@contextlib.contextmanager
def open_reader(found: ShardSet, scratch: Path) -> Iterator[ShardReader]:
    """A reader of these shards for the block.

    Args:
        found: the shards, which another machine may have found.
        scratch: for copies of shards that are stored elsewhere; only one is there at a time.

    Raises:
        DeployError: this machine does not see the same images.
    """
    if not found.images:
        yield _Files(scratch)
    elif is_list(found.data) or is_address(found.data):
        images = listed_images(found.data)
        place = f"{found.data.rpartition('/')[0]}/"
        _check_same(found, digest_of_names(name.removeprefix(place) for name in images))
        with ThreadPoolExecutor(THREADS, thread_name_prefix="receiving") as threads:
            yield _Listed(found.data, images, threads)
    else:
        source = open_data(found.data, Role.TEST)
        _check_same(found, digest_of_names(names_of(source)))
        yield _Blocks(source)


def _check_same(found: ShardSet, digest: str) -> None:
    if digest != found.images:
        raise DeployError(
            f"{found.data} does not have the images here that it had when its shards were found: expected the same "
            "files on every machine, unchanged during the run"
        )


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Images of a data set that is open."""

    source: OpenedSource

    @contextlib.contextmanager
    def open(self, shard: Shard) -> Iterator[ImageSource]:
        yield _as_source(shard, islice(items_from(self.source, shard.start), shard.stop - shard.start))


@dataclass(frozen=True, slots=True)
class _Files:
    """Files of which each is a data set; one that is stored elsewhere is copied to `scratch` for its block."""

    scratch: Path

    @contextlib.contextmanager
    def open(self, shard: Shard) -> Iterator[ImageSource]:
        assert shard.file is not None
        if not is_address(shard.file):
            yield self._open_local(Path(shard.file), shard)
            return
        copy = self.scratch / f"shard-{shard.number}" / shard.file.rpartition("/")[2]
        copy.parent.mkdir()
        try:
            try:
                copy_here(shard.file, copy)
            except FileNotFoundError as error:
                raise DeployError(f"{shard.file} is not there any more: expected an unchanged data set") from error
            yield self._open_local(copy, shard)
        finally:
            copy.unlink(missing_ok=True)
            copy.parent.rmdir()

    def _open_local(self, path: Path, shard: Shard) -> ImageSource:
        try:
            size = path.stat().st_size
        except FileNotFoundError as error:
            raise DeployError(f"{path} is not there any more: expected an unchanged data set") from error
        if size != shard.size_bytes:
            raise DeployError(
                f"{shard.file} has {size} bytes, and {shard.size_bytes} when the shards were found: expected an "
                "unchanged data set; start the run again"
            )
        return open_file(path, shard.format)


@dataclass(frozen=True, slots=True)
class _Listed:
    """Images by their paths and addresses; those at addresses are received by threads, some before they are needed."""

    data: str
    images: Sequence[str]
    threads: ThreadPoolExecutor

    @contextlib.contextmanager
    def open(self, shard: Shard) -> Iterator[ImageSource]:
        yield _as_source(shard, self._items(self.images[shard.start : shard.stop]))

    def _items(self, images: Sequence[str]) -> Iterator[Item]:
        folder = self.data.rpartition("/")[0]
        waiting = deque[tuple[str, Future[Item] | None]]()
        requested = iter(images)
        try:
            while True:
                while len(waiting) < AHEAD and (image := next(requested, None)) is not None:
                    name = as_text(image.removeprefix(f"{folder}/") if folder else image)
                    waiting.append((image, self.threads.submit(_receive, image, name) if is_address(image) else None))
                if not waiting:
                    return
                image, received = waiting.popleft()
                path = Path(folder) / image  # an absolute path stays one
                yield Item(as_text(image), None, Encoded(path, str(path))) if received is None else received.result()
        finally:
            for _, received in waiting:
                if received is not None:
                    received.cancel()


def _receive(address: str, name: str) -> Item:
    """The image at an address; one that is missing or too large is corrupt, as a file is."""
    try:
        return Item(name, None, Encoded(read_object(address, "image_bytes"), address))
    except FileNotFoundError:
        return Item(name, None, _Unreadable(f"{address} cannot be read (nothing is stored there)"))
    except OverLimit as error:
        return Item(name, None, _Unreadable(str(error)))


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """Stands for an image that cannot be read."""

    reason: str

    def __call__(self) -> NoReturn:
        raise CorruptImage(f"{self.reason}: expected an image file")


def _as_source(shard: Shard, items: Iterator[Item]) -> LazySource:
    """A source that is read once, in order."""
    return LazySource(name=shard.name, count=shard.stop - shard.start, read=lambda _order: items)
