"""Which revision of the program's own source tree is running, asked of git; nothing about the user's folders."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import wrn_deploy

__all__ = ["git_revision"]


def git_revision(tree: Path | None = None) -> str | None:
    """As `git describe --always --dirty` says it; None: the program is installed, not a checkout, or git is missing.

    Args:
        tree: the folder that must itself be the top of the checkout; None: the one that holds the package.
    """
    top = Path(wrn_deploy.__file__).resolve().parents[1] if tree is None else tree
    if not (top / ".git").exists():
        return None
    # Variables such as GIT_DIR would lead to another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-C", str(top), "describe", "--always", "--dirty"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True, env=environment)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
