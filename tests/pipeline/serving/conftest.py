"""The bundle that comes with the package, for tests that change it."""

from __future__ import annotations

from pathlib import Path

import pytest

from wrn_deploy.bundle import Bundle
from wrn_deploy.pipeline.inference.example import copy_example
from wrn_deploy.progress import Silent

__all__ = ["served", "short_turns"]


@pytest.fixture
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at the times that these tests measure."""
    monkeypatch.setattr("wrn_deploy.pipeline.measuring.rounds.WARM_UP_S", (0.01, 0.1))


@pytest.fixture
def served(tmp_path: Path) -> Bundle:
    """A copy of the example: fp32 and int8 graphs for ONNX Runtime."""
    return copy_example(tmp_path / "bundle", Silent()).bundle
