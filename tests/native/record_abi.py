"""Writes wrn_runner.abi, which test_abi compares the header with: python -m tests.native.record_abi."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.native.test_abi import NATIVE, RECORDED, describe_abi

__all__: list[str] = []

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        made = describe_abi((NATIVE / "include" / "wrn_runner.h").read_text(), Path(folder))
        RECORDED.write_bytes(made.read_bytes())
