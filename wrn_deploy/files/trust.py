"""What the caller, and never a file, allows and demands of bundles; the standard library only.

Two environment variables hold it, so that child processes and embedded runners obey it too; the command line's
`--require-signature` and `--allow-host-code` set them. An empty variable demands or allows nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["HOST_CODE", "SIGNED_BY", "Trust", "trust", "trusting"]

SIGNED_BY = "WRN_DEPLOY_REQUIRE_SIGNATURE"
HOST_CODE = "WRN_DEPLOY_ALLOW_HOST_CODE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What a caller allows and demands.

    Args:
        signed_by: a PEM file with the public key, or the authorities' certificates, that a bundle's signature must
            belong to; None: no signature is needed.
        host_code: whether TensorRT may run code of this machine's processor that a version-compatible plan holds.
    """

    signed_by: Path | None = None
    host_code: bool = False


def trust() -> Trust:
    """What this process allows and demands by default."""
    key = os.environ.get(SIGNED_BY)
    return Trust(signed_by=Path(key) if key else None, host_code=bool(os.environ.get(HOST_CODE)))


@contextlib.contextmanager
def trusting(given: Trust) -> Iterator[None]:
    """Makes it the default of this process and of the children it starts meanwhile."""
    wanted = {SIGNED_BY: str(given.signed_by or ""), HOST_CODE: "1" if given.host_code else ""}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
