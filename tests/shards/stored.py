"""Storages for tests: fsspec's in memory, and a real S3 server on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

__all__ = ["S3", "SECRET", "credentials", "empty_memory", "serve_s3", "upload"]

SECRET = "SeCrEtAcCeSsKeY"
S3 = "s3://images"
VARIABLES = {
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}  # fmt: skip


def serve_s3() -> Iterator[str]:
    """Starts moto's server on loopback, with the bucket `images`; yields its address. It ends with this process."""
    server_module = pytest.importorskip("moto.server", reason="moto's server is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def credentials(endpoint: str) -> dict[str, str]:
    """The environment that lets every S3 client use the server."""
    return {**VARIABLES, "AWS_ENDPOINT_URL": endpoint}


def empty_memory() -> Any:
    """fsspec's file system in memory, without files."""
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    return memory


def upload(filesystem: Any, folder: Path, target: str) -> None:
    """Copies the files of a folder to a storage."""
    for file in sorted(folder.iterdir()):
        filesystem.put_file(str(file), f"{target}/{file.name}")
