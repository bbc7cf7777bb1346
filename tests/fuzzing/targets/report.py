"""Reports of `bench`, as `compare` and the renderings read them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.bench.full_report import make_full_report
from wrn_deploy.bench.report.report import read_report

__all__ = ["read", "seeds"]


def seeds(_folder: Path) -> Iterator[bytes]:
    """A report with everything that one can have."""
    yield make_full_report().to_json().encode()


def read(path: Path) -> None:
    """Reads it."""
    repr(read_report(path))
