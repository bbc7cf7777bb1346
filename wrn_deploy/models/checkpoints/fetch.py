"""Downloads published weights into the caches of torch.hub and huggingface_hub, checked and complete; torch only.

A file whose whole sha256 is published must have it. Of the others only the first digits are known, or nothing: what is
there at first use is written down next to the file, and any other content is refused from then on.

`TORCH_HOME`, `HF_HOME` and `HF_ENDPOINT` mean what they mean to those libraries. `WRN_DEPLOY_WEIGHTS_URL` is the
address of a mirror: a folder with the files that torchvision and mmpretrain publish, under their names.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from urllib.error import HTTPError, URLError

from wrn_deploy.bundle import sha256_of
from wrn_deploy.errors import DamagedFile, DeployError, MachineError, missing_package
from wrn_deploy.files.budget import budget
from wrn_deploy.files.new_file import write_whole
from wrn_deploy.files.text import read_text
from wrn_deploy.models.checkpoints.download import check_address, download
from wrn_deploy.models.checkpoints.sources import WeightsSource
from wrn_deploy.progress import Progress

__all__ = ["MIRROR", "fetch_weights"]

MIRROR = "WRN_DEPLOY_WEIGHTS_URL"
HUB = "https://huggingface.co"
DIGITS = 64  # of a whole sha256
FIRST_USE = ".sha256"  # the ending of the file with the digest at first use
DISK_ERRORS = (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.EDQUOT, errno.ENOTDIR)


def fetch_weights(source: WeightsSource, progress: Progress) -> Path:
    """The file of `source`: from the cache, or downloaded into it.

    Raises:
        MachineError: the server cannot be reached, or huggingface_hub is not installed; the text says how to copy the
            file by hand.
        DeployError: the server does not have the file, the file is not the published one or has changed since its first
            use, or it cannot be written.
    """
    try:
        return _from_url(source, progress) if source.url else _from_hub(source, progress)
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise DeployError(
                f"{source.name} cannot be stored ({error}): expected free space and permission to write"
            ) from error
        raise MachineError(
            f"{source.name} cannot be downloaded from {_address(source)} ({_first_line(error)}): expected a network. "
            f"{_by_hand(source)}"
        ) from error


def _from_url(source: WeightsSource, progress: Progress) -> Path:
    cached = _cache_file(source)
    if cached.is_file():
        return _checked(cached, source, progress)
    cached.parent.mkdir(parents=True, exist_ok=True)
    address = _address(source)
    progress.note(f"downloading {address} to {cached.parent}")
    try:
        download(address, cached, lambda digest: _check_published(digest, address, source), progress)
    except HTTPError as error:
        raise DeployError(
            f"{address} answers {error.code} {error.reason}: expected {source.file}. {_by_hand(source)}"
        ) from error
    return _checked(cached, source, progress)


def _from_hub(source: WeightsSource, progress: Progress) -> Path:
    try:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ModuleNotFoundError as error:
        raise missing_package("huggingface_hub", "hub", f"downloading {source.name}") from error
    revision = source.revision or None
    cached = try_to_load_from_cache(source.repository, source.file, revision=revision)
    if isinstance(cached, str):
        return _checked(Path(cached), source, progress)
    check_address(_address(source))
    progress.note(f"downloading {_address(source)}")
    endpoint = os.environ.get("HF_ENDPOINT")  # the library reads its variable only at import
    try:
        file = hf_hub_download(
            source.repository, source.file, revision=revision, endpoint=endpoint, etag_timeout=min(10, budget().seconds)
        )
    except LocalEntryNotFoundError:  # neither reachable nor in the cache
        raise
    except HfHubHTTPError as error:
        if error.response is None:
            raise
        raise DeployError(
            f"{_address(source)} answers {error.response.status_code}: expected {source.file}. {_by_hand(source)}"
        ) from error
    return _checked(Path(file), source, progress)


def _check_published(digest: str, where: object, source: WeightsSource) -> None:
    if not digest.startswith(source.sha256):
        raise DamagedFile(
            f"{where} is not the published {source.name}: its sha256 is {digest}, expected {source.sha256}"
            f"{'...' if len(source.sha256) < DIGITS else ''}; remove it if it is in the cache, and try again, or pass "
            "--weights FILE"
        )


def _checked(file: Path, source: WeightsSource, progress: Progress) -> Path:
    """The cached file, checked against the published digest and the one that was written down at first use."""
    digest = sha256_of(file)
    _check_published(digest, file, source)
    if len(source.sha256) == DIGITS:
        return file
    kept = file.with_name(file.name + FIRST_USE)
    if kept.exists():
        first = read_text(kept).strip()
        if first != digest:
            raise DamagedFile(
                f"{file} has changed: its sha256 is {digest}, and was {first} when it was first used; expected the "
                f"same file. Remove both it and {kept.name} if you know why"
            )
        return file
    try:
        write_whole(kept, digest + "\n")
        noted = f"saved in {kept.name} for later comparisons"
    except OSError as error:
        noted = f"which cannot be saved next to it ({error.strerror})"
    known = f"only {source.sha256}..." if source.sha256 else "nothing"
    progress.note(f"{source.name}: {known} of its sha256 is published; it is {digest}, {noted}")
    return file


def _cache_file(source: WeightsSource) -> Path:
    """Where torch.hub stores a file of this name, so that torchvision's downloads are found too."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / source.file


def _address(source: WeightsSource) -> str:
    if source.repository:
        return f"{os.environ.get('HF_ENDPOINT', HUB).rstrip('/')}/{_in_hub(source)}"
    mirror = os.environ.get(MIRROR)
    return f"{mirror.rstrip('/')}/{source.file}" if mirror else source.url


def _in_hub(source: WeightsSource) -> str:
    return f"{source.repository}/resolve/{source.revision or 'main'}/{source.file}"


def _by_hand(source: WeightsSource) -> str:
    """How to proceed without a download here."""
    if source.repository:
        there = f"{HUB}/{_in_hub(source)}"
        return f"Or copy {there} here, with the config.json next to it, and pass --weights FILE"
    return f"Or copy {source.url} to {_cache_file(source)}, or pass --weights FILE"


def _first_line(error: OSError) -> str:
    reason = error.reason if isinstance(error, URLError) else error
    return str(reason).partition("\n")[0] or type(error).__name__
