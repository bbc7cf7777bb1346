"""Reads what `torch.save` wrote as data alone: tensors and plain containers; code in it is never run. Torch only.

Training scripts save other objects beside the tensors (arguments, meters, NumPy scalars). Torch's restricted unpickler
is given a stand-in for their classes, which does nothing, so that such files can be read without what made them. A file
that names what runs programs is refused all the same.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any, Self

import torch

from wrn_deploy.errors import DamagedFile, DeployError

__all__ = ["read_pickled", "refuse_code"]

MOST = 64  # foreign classes in one file; each costs one more pass over its start
# What names these wants to run something; torch itself blocks os, posix, nt and sys.
RUNNERS = {
    *("builtins", "code", "ctypes", "importlib", "multiprocessing", "nt", "os", "posix", "pty", "runpy", "shutil"),
    *("signal", "socket", "subprocess", "sys", "threading", "webbrowser"),
}


class _StandIn:
    """In place of an object of any foreign class: takes whatever its state is, and keeps none."""

    def __init__(self, *_args: object) -> None:
        pass

    def __new__(cls, *_args: object) -> Self:
        return super().__new__(cls)

    def __setstate__(self, _state: object) -> None:
        pass


def read_pickled(file: Path) -> tuple[Any, tuple[str, ...]]:
    """What is in the file, and the classes whose objects were passed over.

    Raises:
        DeployError: the file is damaged, truncated, no checkpoint, or names what runs programs.
    """
    foreign: list[str] = []
    while True:
        try:
            return _load(file, foreign), tuple(foreign)
        except Exception as error:  # damage can end in any error of the unpickler
            name = _foreign_class(error)
            if name is None or name in foreign or len(foreign) == MOST:
                raise _unreadable(file, error, foreign) from error
            foreign.append(name)


def refuse_code(file: Path, name: str) -> DeployError:
    """The error for a file that holds objects of the class `name` instead of tensors."""
    return DeployError(
        f"{file} holds pickled code ({name}), which is never run here: expected a state dict of tensors; load "
        "it where it was made and save model.state_dict(), best as safetensors"
    )


def _load(file: Path, foreign: list[str]) -> Any:
    allowed: list[Any] = [(_StandIn, name) for name in foreign]
    # By its path, torch would judge a file by its suffix. Its warnings are on pickles that end in an error here.
    with (
        file.open("rb") as stream,
        warnings.catch_warnings(action="ignore"),
        torch.serialization.safe_globals(allowed),
    ):
        return torch.load(stream, map_location="cpu", weights_only=True)


def _foreign_class(error: Exception) -> str | None:
    """The class that torch did not allow; None where that is not it, or where it is not passed over."""
    named = re.search(r"Unsupported global: GLOBAL (\S+) was not", str(error))
    if named is None or "." not in named[1] or named[1].partition(".")[0] in RUNNERS:  # torch leaves "builtins." out
        return None
    return named[1]


def _unreadable(file: Path, error: Exception, foreign: list[str]) -> DeployError:
    code = re.search(r"GLOBAL (\S+)", str(error))  # how torch names what it did not run
    if code is not None:
        return refuse_code(file, code[1])
    if foreign:
        return refuse_code(file, foreign[0])
    first = ": ".join(filter(None, (type(error).__name__, re.split(r"\.\s|\n", str(error))[0])))
    return DamagedFile(
        f"{file} is damaged, truncated or no checkpoint ({first}): expected a .safetensors or a .pth file"
    )
