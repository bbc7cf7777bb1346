"""What MLPerf's load generator measured of a contender, as data; running it is done in `scenarios.py`."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LoadResult"]


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What LoadGen found in one scenario; `valid` by LoadGen's own rules, else `reason` has its advice.

    `target_ms` is the latency asked for (Server), `log` the folder of LoadGen's logs, beside the report.
    """

    scenario: str
    valid: bool
    target_ms: float | None
    samples_per_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    queries: int
    log: str
    reason: str | None = None
