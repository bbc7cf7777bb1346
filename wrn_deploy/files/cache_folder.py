"""The user's folder for files that can be made again; the standard library only."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder(name: str) -> Path | None:
    """The folder `name` of this program's in XDG_CACHE_HOME, or in ~/.cache; None: this user has none.

    It may not exist yet (freedesktop.org, "XDG Base Directory Specification").
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not folder.is_absolute():
        try:
            folder = Path.home() / ".cache"
        except RuntimeError:
            return None
    return folder / "wrn-deploy" / name
