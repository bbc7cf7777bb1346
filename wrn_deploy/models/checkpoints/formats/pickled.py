"""Reads files of `torch.save` as data only; never runs code in them.

Training scripts save other objects beside the tensors (arguments, meters, NumPy scalars). Torch's restricted unpickler
gets a stand-in for their classes, which does nothing, so that such files can be read without the code that made them. A
file that names modules that can run programs is refused. `storages.py` checks what torch believes without looking.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self

import torch

from wrn_deploy.errors import DamagedFile, DeployError, OverLimit
from wrn_deploy.files.regular import open_regular
from wrn_deploy.models.checkpoints.formats.storages import check_storages, check_tensors

__all__ = ["read_pickled", "refuse_code"]

MAX_FOREIGN = 64  # foreign classes in one file; each costs one more pass over its start
# A file that names these wants to run something; torch itself blocks os, posix, nt and sys.
RUNNERS = {
    *("builtins", "code", "ctypes", "importlib", "multiprocessing", "nt", "os", "posix", "pty", "runpy", "shutil"),
    *("signal", "socket", "subprocess", "sys", "threading", "webbrowser"),
}


class _StandIn:
    """Replaces an object of any foreign class: accepts any state and keeps none."""

    def __init__(self, *_args: object) -> None:
        pass

    def __new__(cls, *_args: object) -> Self:
        return super().__new__(cls)

    def __setstate__(self, _state: object) -> None:
        pass


def read_pickled(file: Path, stand_ins: Mapping[str, type] | None = None) -> tuple[Any, tuple[str, ...]]:
    """The contents of the file, and the classes of the objects that were ignored.

    `stand_ins` replaces objects of these classes; without it, all are replaced by one that keeps nothing.

    Raises:
        DeployError: the file is damaged, truncated, not a checkpoint, or names modules that can run programs.
        OverLimit: it needs more than the budget allows.
    """
    with open_regular(file) as stream:
        try:
            check_storages(stream, file)
        except OverLimit:
            raise
        except DamagedFile as error:
            raise _damaged(file, str(error).removeprefix(f"{file} is ").partition(": expected")[0]) from error
        loaded, foreign = _load_with_stand_ins(stream, file, stand_ins or {})
    check_tensors(loaded, file)
    return loaded, foreign


def _load_with_stand_ins(stream: BinaryIO, file: Path, stand_ins: Mapping[str, type]) -> tuple[Any, tuple[str, ...]]:
    foreign: list[str] = []
    while True:
        try:
            return _load(stream, foreign, stand_ins), tuple(foreign)
        except DeployError:  # of a stand-in
            raise
        except Exception as error:  # damage can end in any error of the unpickler
            name = _foreign_class(error)
            if name is None or name in foreign or len(foreign) == MAX_FOREIGN:
                raise _unreadable(file, error, foreign) from error
            foreign.append(name)


def refuse_code(file: Path, name: str) -> DeployError:
    """The error for a file that holds objects of the class `name` instead of tensors."""
    return DeployError(
        f"{file} contains pickled code ({name}), which is never run here: expected a state dict of tensors; load "
        "it where it was made and save model.state_dict(), best as safetensors"
    )


def _load(stream: BinaryIO, foreign: list[str], stand_ins: Mapping[str, type]) -> Any:
    allowed = torch.serialization.safe_globals([(stand_ins.get(name, _StandIn), name) for name in foreign])
    stream.seek(0)
    # Given a path, torch would judge the file by its suffix. Its warnings are about pickles that fail here.
    with warnings.catch_warnings(action="ignore"), allowed:
        return torch.load(stream, map_location="cpu", weights_only=True)


def _foreign_class(error: Exception) -> str | None:
    """The class that torch did not allow; None for any other error, and for a class that cannot be ignored."""
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
    return _damaged(file, first)


def _damaged(file: Path, reason: str) -> DamagedFile:
    return DamagedFile(
        f"{file} is damaged, truncated or not a checkpoint ({reason}): expected a .safetensors or a .pth file"
    )
