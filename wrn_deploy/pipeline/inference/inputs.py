"""Finds the images that `predict` is given in words: files, folders, patterns, HTTPS addresses, standard input."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit

from wrn_deploy.data.any_image import ImageBytes
from wrn_deploy.data.containers.listing import IMAGE_SUFFIXES, is_image, list_images
from wrn_deploy.errors import DeployError, UsageError
from wrn_deploy.files.budget import budget, raised
from wrn_deploy.files.text import read_at_most
from wrn_deploy.models.checkpoints.download import download
from wrn_deploy.process.scratch import scratch_folder
from wrn_deploy.progress import Progress

__all__ = ["STANDARD_INPUT", "find_images"]

STANDARD_INPUT = "-"
ADDRESSES = ("https://", "http://")


def find_images(
    given: Sequence[str], progress: Progress, stdin: BinaryIO | None = None
) -> tuple[Path | ImageBytes, ...]:
    """The images of each word, in the order given.

    A folder has its image files, with those in folders below it, by name; a pattern, as in photos/*.jpg, the files that
    it fits, ** over folders; an address one image, received whole before anything runs; - the bytes of one image from
    standard input (None: the process's own). Anything else is a path, which need not exist: reading says so.

    Raises:
        UsageError: - is given twice, or standard input is empty.
        DeployError: a folder or a pattern has no images; an address is not one of HTTPS, cannot be reached, or leads to
            another host.
        OverLimit: an image has more than the budget's `image_bytes`.
    """
    if list(given).count(STANDARD_INPUT) > 1:
        raise UsageError("- is given twice: expected one image on standard input")
    return tuple(image for word in given for image in _find(word, progress, stdin))


def _find(word: str, progress: Progress, stdin: BinaryIO | None) -> Iterator[Path | ImageBytes]:
    path = Path(word)
    if word == STANDARD_INPUT:
        yield _read(stdin or sys.stdin.buffer)
    elif word.lower().startswith(ADDRESSES):
        yield _fetch(word, progress)
    elif path.is_dir():
        listing = list_images(path, path)
        for note in listing.notes(path):
            progress.note(note)
        yield from _some([path / name for name in listing.images], f"{word} is a folder without images")
    elif not path.exists() and glob.has_magic(word):
        matches = map(Path, sorted(glob.glob(word, recursive=True)))  # noqa: PTH207 (Path.glob takes no absolute one)
        yield from _some([match for match in matches if is_image(match)], f"{word} matches no images")
    else:
        yield path


def _some(images: list[Path], otherwise: str) -> list[Path]:
    if not images:
        raise DeployError(f"{otherwise}: expected files that end with one of {', '.join(sorted(IMAGE_SUFFIXES))}")
    return images


def _read(stream: BinaryIO) -> ImageBytes:
    content = read_at_most(stream, budget().image_bytes + 1)
    budget().check("image_bytes", len(content), "standard input")
    if not content:
        raise UsageError("standard input is empty: expected the bytes of an image, such as `... - < photo.jpg`")
    return ImageBytes("standard input", content)


def _fetch(address: str, progress: Progress) -> ImageBytes:
    """Receives the image at an address; redirects must stay on its host."""
    try:
        name = Path(unquote(urlsplit(address).path)).name[:100].replace("\0", "") or "image"
    except ValueError as error:
        raise DeployError(f"{address} is not a URL ({error}): expected https://HOST/PATH") from error
    with scratch_folder() as folder, raised(f"download_bytes={budget().image_bytes}"):
        file = folder / name
        try:
            download(address, file, lambda _digest: None, progress)
        except HTTPError as error:
            raise DeployError(f"{address} answers {error.code} {error.reason}: expected an image") from error
        except (URLError, OSError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            raise DeployError(f"{address} cannot be downloaded ({reason}): expected a server that has it") from error
        return ImageBytes(address, file.read_bytes())
