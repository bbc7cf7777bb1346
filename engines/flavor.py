"""Which TensorRT is installed: TensorRT (10.13.3 or later, 11) or TensorRT-RTX; imports it only when asked to."""

from __future__ import annotations

import importlib
import importlib.util
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from wrn_deploy.errors import MachineError, how_to_install

__all__ = ["Flavor", "TensorRT", "find_flavor", "installed_flavors"]

OLDEST = (10, 13, 3)  # the first whose package installs its libraries, which the extra `gpu` asks for


class Flavor(StrEnum):
    """The TensorRT libraries; the value is the Python module's name."""

    TENSORRT = "tensorrt"
    RTX = "tensorrt_rtx"


@dataclass(frozen=True, slots=True)
class TensorRT:
    """One installed TensorRT: its Python module and version."""

    flavor: Flavor
    version: str
    module: Any


def installed_flavors() -> list[Flavor]:
    """The TensorRT libraries that are installed, full TensorRT first; imports none."""
    return [flavor for flavor in Flavor if importlib.util.find_spec(flavor.value) is not None]


def find_flavor(wanted: Flavor | None = None) -> TensorRT:
    """Imports the wanted TensorRT, or the first that is installed.

    Raises:
        MachineError: it is not installed, cannot be loaded, or is too old.
    """
    installed = installed_flavors()
    if not installed or (wanted is not None and wanted not in installed):
        names = {None: "no TensorRT is", Flavor.TENSORRT: "TensorRT is not", Flavor.RTX: "TensorRT-RTX is not"}
        raise MachineError(
            f"{names[wanted]} installed: {how_to_install('gpu', 'tensorrt')} for TensorRT, or "
            f"{how_to_install('rtx', 'tensorrt-rtx')} for TensorRT-RTX, which builds plans without a GPU too"
        )
    flavor = wanted or installed[0]
    try:
        module = importlib.import_module(flavor.value)
    except (ImportError, OSError, RuntimeError) as error:
        raise MachineError(f"{flavor} is installed but cannot be loaded ({error}): reinstall it") from error
    version = str(module.__version__)
    numbers = tuple(map(int, re.findall(r"\d+", version)[:3]))
    if flavor is Flavor.TENSORRT and numbers < OLDEST:
        raise MachineError(f"TensorRT {version} is too old: expected 10.13.3 or later; pip install --upgrade tensorrt")
    return TensorRT(flavor, version, module)
