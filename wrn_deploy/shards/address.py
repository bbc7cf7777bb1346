"""Addresses of storage, such as s3://bucket/folder, and the secrets that none may have; the standard library only."""

from __future__ import annotations

import os
import re

from wrn_deploy.errors import UsageError

__all__ = ["SCHEMES", "check_address", "is_address", "without_secrets"]

# The storages that fsspec reaches, and what brings each: a key of errors.REQUIREMENTS, or a package by its name.
SCHEMES = {"s3": "storage", "gs": "gcsfs", "hf": "hub", "memory": "storage"}
MARK = "://"
HIDDEN = "***"
USER = re.compile(r"(?<=://)[^/\s@]*@")
QUERY = re.compile(r"(://[^\s?\"'<>]*)\?[^\s\"'>)]*")
# Environment variables whose values must not be in any text.
SECRETS = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "FSSPEC_S3_KEY", "FSSPEC_S3_SECRET",
    "FSSPEC_S3_TOKEN", "GOOGLE_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN",
)  # fmt: skip
SHORTEST = 6  # characters of a value that is hidden; shorter ones are words of the texts themselves


def is_address(text: str) -> bool:
    """Whether it is an address, and not a path."""
    return MARK in text


def check_address(text: str) -> str:
    """Returns an address of a known storage that has no secret in it.

    Raises:
        UsageError: another scheme; or it has a user, a password, a signature or other queries.
    """
    scheme, _, place = text.partition(MARK)
    shown = without_secrets(text)
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}{MARK}" for name in SCHEMES if name != "memory")
        raise UsageError(f"{shown}: expected an address that starts with {known}, or a path; download other files")
    if "@" in place.partition("/")[0] or "?" in place or "#" in place:
        raise UsageError(
            f"{shown} has a user, a password or a query in it: expected {scheme}{MARK}BUCKET/PATH; give credentials by "
            "environment variables or the files of the storage's own tools"
        )
    if not place.strip("/") or any(part in (".", "..") for part in place.split("/")):
        raise UsageError(f"{shown} names no place: expected {scheme}{MARK}BUCKET/PATH")
    return text


def without_secrets(text: str) -> str:
    """The text without users, passwords and queries of addresses, and without the credentials of this environment."""
    for name in SECRETS:
        value = os.environ.get(name, "")
        if len(value) >= SHORTEST:
            text = text.replace(value, HIDDEN)
    if MARK in text:
        text = QUERY.sub(rf"\g<1>?{HIDDEN}", USER.sub(f"{HIDDEN}@", text))
    return text
