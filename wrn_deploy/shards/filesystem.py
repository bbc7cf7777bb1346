"""Opens the file system of an address by fsspec, lists and copies within the budget; errors without credentials."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wrn_deploy.errors import REQUIREMENTS, DeployError, MachineError, missing_package
from wrn_deploy.files.budget import budget
from wrn_deploy.files.new_file import new_file
from wrn_deploy.shards.address import SCHEMES, check_address, without_secrets

__all__ = ["copy_here", "list_files", "open_filesystem", "read_object", "storage_errors"]

PIECE_BYTES = 8 * 2**20
MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


def open_filesystem(address: str) -> tuple[Any, str]:
    """Returns fsspec's file system of an address, and the path in it.

    Credentials are those that the storage's own library finds: environment variables, configuration files, the role of
    a machine.

    Raises:
        UsageError: the address is of another scheme, or has a secret in it.
        MachineError: a package is not installed.
    """
    scheme = check_address(address).partition("://")[0]
    try:
        import fsspec
    except ImportError as error:
        raise missing_package("fsspec", "storage", "reading and writing addresses") from error
    extra = SCHEMES[scheme]
    try:
        filesystem, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        if extra not in REQUIREMENTS:
            raise MachineError(f"{scheme}:// needs {extra}, which is not installed: pip install {extra}") from error
        package = {"s3": "s3fs", "hf": "huggingface-hub"}.get(scheme, "fsspec")
        raise missing_package(package, extra, f"{scheme}://") from error
    except Exception as error:  # noqa: BLE001 (each storage has errors of its own)
        raise DeployError(f"{address} cannot be opened ({without_secrets(str(error))}): check the address") from None
    return filesystem, str(path)


@contextlib.contextmanager
def storage_errors(address: str) -> Iterator[None]:
    """Turns errors of a storage into ours; what another attempt may cure becomes an OSError.

    The storage's own error is not kept as the cause: a traceback could show credentials.

    Raises:
        FileNotFoundError: there is nothing at the address.
        DeployError: access is denied.
        OSError: anything else, as a network that fails.
    """
    try:
        yield
    except DeployError:
        raise
    except MISSING:
        raise FileNotFoundError(errno.ENOENT, "nothing is stored there", address) from None
    except PermissionError as error:
        reason = without_secrets(str(error)) or "denied"
        raise DeployError(
            f"{address} cannot be accessed ({reason}): check the credentials of this environment and their permissions"
        ) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):  # of the local copy
            raise
        raise OSError(errno.EIO, without_secrets(str(error)) or type(error).__name__, address) from None
    except Exception as error:  # noqa: BLE001 (each storage has errors of its own)
        text = without_secrets(f"{type(error).__name__}: {error}")
        if "credential" in text.lower():
            raise DeployError(f"{address} cannot be accessed ({text}): give credentials in this environment") from None
        raise OSError(errno.EIO, text, address) from None


def list_files(address: str, *, deep: bool) -> dict[str, int]:
    """The files at an address of a folder, with `deep` also below it: paths relative to it, sorted, and their sizes.

    Raises:
        as `open_filesystem` and `storage_errors`.
    """
    filesystem, root = open_filesystem(address)
    with storage_errors(address):
        filesystem.invalidate_cache()
        found = filesystem.find(root, maxdepth=None if deep else 1, detail=True)
    start = f"{root.rstrip('/')}/"
    files = {
        path.removeprefix(start): int(about.get("size") or 0)
        for path, about in found.items()
        if path.startswith(start) and about.get("type") != "directory"
    }
    return dict(sorted(files.items()))


def read_object(address: str, limit: str) -> bytes:
    """The content of a file, at most the budget's `limit`, as in "image_bytes"; raises as `copy_here`."""
    filesystem, path = open_filesystem(address)
    most = getattr(budget(), limit)
    with storage_errors(address), filesystem.open(path, "rb", cache_type="none", block_size=PIECE_BYTES) as stream:
        content = stream.read(most + 1)
    budget().check(limit, len(content), address)
    return bytes(content)


def copy_here(address: str, target: Path) -> None:
    """Copies a file to `target`, in pieces; raises as `storage_errors`, and OverLimit above `download_bytes`."""
    filesystem, path = open_filesystem(address)
    size = 0
    with (
        new_file(target) as copy,
        storage_errors(address),
        filesystem.open(path, "rb", cache_type="readahead", block_size=PIECE_BYTES) as stream,
    ):
        while piece := stream.read(PIECE_BYTES):
            size += len(piece)
            budget().check("download_bytes", size, address)
            copy.write(piece)
