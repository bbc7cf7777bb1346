"""torchvision and timm where they are installed, for comparisons; their networks need none of torchvision's operators.

A torchvision that was built for another torch cannot load its operators and fails when it is imported. They are then
declared, without code, so that its networks in plain Python can be compared all the same.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from typing import Any

import pytest
import torch

__all__ = ["timm_or_skip", "torchvision_or_skip"]

MOST = 20  # operators to declare

_library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call] # lasts as long as it


def torchvision_or_skip() -> Any:
    """The package; skips the test where it is not installed."""
    pytest.importorskip("PIL")
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    for _ in range(MOST):
        try:
            return importlib.import_module("torchvision")
        except RuntimeError as error:
            named = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if named is None:
                raise
            _library.define(f"{named[1]}(Tensor boxes) -> Tensor")  # type: ignore[no-untyped-call]
            for module in [module for module in sys.modules if module.partition(".")[0] == "torchvision"]:
                del sys.modules[module]
    return pytest.skip("torchvision cannot be imported with this torch")


def timm_or_skip() -> Any:
    """The package; skips the test where it is not installed."""
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")
    torchvision_or_skip()  # timm imports it
    return importlib.import_module("timm")
