"""The settings of the tests whose inputs hypothesis draws: few examples, and the same ones every time."""

from __future__ import annotations

from hypothesis import settings

__all__ = ["quickly"]

quickly = settings(max_examples=50, deadline=None, derandomize=True, database=None)
