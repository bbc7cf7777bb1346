"""One file a target, found by its name; the rest of the harness knows no target.

A target has `seeds(folder)`, which yields whole files as bytes (`folder` is empty, for writers that need one), and
`read(path)`, which reads a file as the commands do: it raises DeployError or returns. `PACKAGES` names what it needs
to be installed, `MUTANTS` how many the test tries of a slow reader. What a search finds goes into
`tests/fuzzing/finds/TARGET/`, under a name that says what it is.
"""

from __future__ import annotations

import contextlib
import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.errors import DeployError
from wrn_deploy.plugins import load_plugin, plugin_names

__all__ = ["LIMITS", "Target", "load_target", "target_names"]

# Low, so that what the limits allow fits in the memory and time that a search is given.
LIMITS = "memory_bytes=1e8,pixels=4e6,image_bytes=1e7,text_bytes=1e7,members=1e5,seconds=10"
FINDS = Path(__file__).parents[1] / "finds"


@dataclass(frozen=True, slots=True)
class Target:
    """A target's files, and its reader: it returns the kind of the error that refuses a file, or "read"."""

    files: dict[str, bytes]
    read: Callable[[bytes], str]


def target_names() -> list[str]:
    """The targets whose packages are installed."""
    return [
        name
        for name in plugin_names(__name__)
        if all(map(importlib.util.find_spec, getattr(load_plugin(__name__, name), "PACKAGES", ())))
    ]


def load_target(name: str, folder: Path) -> Target:
    """Returns the target, whose reader overwrites one file in `folder`."""
    module, file = load_plugin(__name__, name), folder / "input"
    with tempfile.TemporaryDirectory() as scratch:
        files = {f"seed{number}": content for number, content in enumerate(module.seeds(Path(scratch)))}
    if (FINDS / name).is_dir():
        files |= {path.name: path.read_bytes() for path in sorted((FINDS / name).iterdir())}

    def read(content: bytes) -> str:
        file.write_bytes(content)
        with contextlib.suppress(FileNotFoundError):
            try:
                module.read(file)
            except DeployError as error:
                return type(error).__name__
        return "read"

    return Target(files, read)
