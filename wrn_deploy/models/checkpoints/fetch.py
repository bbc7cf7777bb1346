"""Downloads published weights into the caches of torch.hub and huggingface_hub, checked and complete; torch only.

`TORCH_HOME`, `HF_HOME` and `HF_ENDPOINT` mean what they mean to those libraries. `WRN_DEPLOY_WEIGHTS_URL` is the
address of a mirror: a folder with the files that torchvision and mmpretrain publish, under their names.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from urllib.error import HTTPError, URLError

from wrn_deploy.bundle import sha256_of
from wrn_deploy.errors import DamagedFile, DeployError, MachineError, missing_package
from wrn_deploy.models.checkpoints.sources import WeightsSource
from wrn_deploy.progress import Progress

__all__ = ["MIRROR", "fetch_weights"]

MIRROR = "WRN_DEPLOY_WEIGHTS_URL"
HUB = "https://huggingface.co"
DISK_ERRORS = (errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.EDQUOT, errno.ENOTDIR)


def fetch_weights(source: WeightsSource, progress: Progress) -> Path:
    """The file of `source`: from the cache, or downloaded into it.

    Raises:
        MachineError: the server cannot be reached, or huggingface_hub is not installed; the text says how to copy the
            file by hand.
        DeployError: the server does not have the file, the file is not the published one, or it cannot be written.
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
    import torch

    cached = _cache_file(source)
    if cached.is_file():
        digest = sha256_of(cached)
        if not digest.startswith(source.sha256):
            raise DamagedFile(
                f"{cached} is not {source.name}: its sha256 begins with {digest[:8]}, expected {source.sha256}; remove "
                "it to download it again"
            )
        return cached
    cached.parent.mkdir(parents=True, exist_ok=True)
    address = _address(source)
    progress.note(f"downloading {address} to {cached.parent}")
    try:
        torch.hub.download_url_to_file(address, str(cached), source.sha256, progress=sys.stderr.isatty())
    except HTTPError as error:
        raise DeployError(
            f"{address} answers {error.code} {error.reason}: expected {source.file}. {_by_hand(source)}"
        ) from error
    except RuntimeError as error:  # torch's error for a wrong digest
        raise DamagedFile(
            f"{address} sent a file that is not the published one ({error}): try again, or pass --weights FILE"
        ) from error
    return cached


def _from_hub(source: WeightsSource, progress: Progress) -> Path:
    try:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ModuleNotFoundError as error:
        raise missing_package("huggingface_hub", "hub", f"downloading {source.name}") from error
    if not isinstance(try_to_load_from_cache(source.repository, source.file), str):
        progress.note(f"downloading {_address(source)}")
    try:
        # Pass the endpoint, since the library reads its variable only at import.
        return Path(hf_hub_download(source.repository, source.file, endpoint=os.environ.get("HF_ENDPOINT")))
    except LocalEntryNotFoundError:  # neither reachable nor in the cache
        raise
    except HfHubHTTPError as error:
        if error.response is None:
            raise
        raise DeployError(
            f"{_address(source)} answers {error.response.status_code}: expected {source.file}. {_by_hand(source)}"
        ) from error


def _cache_file(source: WeightsSource) -> Path:
    """Where torch.hub stores a file of this name, so that torchvision's downloads are found too."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / source.file


def _address(source: WeightsSource) -> str:
    if source.repository:
        return f"{os.environ.get('HF_ENDPOINT', HUB).rstrip('/')}/{source.repository}/resolve/main/{source.file}"
    mirror = os.environ.get(MIRROR)
    return f"{mirror.rstrip('/')}/{source.file}" if mirror else source.url


def _by_hand(source: WeightsSource) -> str:
    """How to proceed without a download here."""
    if source.repository:
        there = f"{HUB}/{source.repository}/resolve/main/{source.file}"
        return f"Or copy {there} here, with the config.json beside it, and pass --weights FILE"
    return f"Or copy {source.url} to {_cache_file(source)}, or pass --weights FILE"


def _first_line(error: OSError) -> str:
    reason = error.reason if isinstance(error, URLError) else error
    return str(reason).partition("\n")[0] or type(error).__name__
