"""Compares two reports in files, and is the gate on what became slower or less accurate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.bench.report.compare import Comparison, Timed, compare_reports
from wrn_deploy.bench.report.report import RowKey, read_report
from wrn_deploy.bench.report.scores import exceeds
from wrn_deploy.errors import DeployError, GateError
from wrn_deploy.rendering.comparability import comparison_warnings, obstacles

__all__ = ["Limits", "check_comparison", "compare_files"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What may become worse; None: anything.

    Args:
        regress: per cent of more time.
        drop: points of top-1.
        strict: a time above the limit counts without being shown, and so does what is no longer measured.
    """

    regress: float | None = None
    drop: float | None = None
    strict: bool = False


def compare_files(before: Path, after: Path, reference: RowKey | None = None) -> tuple[Comparison, tuple[str, ...]]:
    """The comparison of two reports, and notes on what else differs.

    Raises:
        DeployError: a file is no report, the two may not be compared, or they have nothing in common.
    """
    old, new = read_report(before), read_report(after)
    reasons = obstacles(old, new, reference)
    if reasons:
        raise DeployError(
            f"{before} and {after} may not be compared ({'; '.join(reasons)}): expected the same in both; "
            "measure both on one machine with the same options"
        )
    found = compare_reports(old, new, reference)
    if not found.timed and not found.scored:
        why = f", and answers are not compared as {found.answers}" if found.answers else ""
        raise DeployError(
            f"{before} and {after} have no candidate and batch size in common{why}: expected at least one; measure "
            "the same --backend, --precision and --batches"
        )
    return found, comparison_warnings(old, new)


def check_comparison(found: Comparison, limits: Limits) -> None:
    """The gate: no time may be shown to be above the limit, and no candidate may lose more right answers than it.

    A time is above the limit where its whole interval is; with `strict`, where the ratio itself is.

    Raises:
        GateError: something became worse, with every case.
        DeployError: nothing could be judged.
    """
    worse = [] if limits.regress is None else _slower(found, limits.regress, strict=limits.strict)
    worse += [] if limits.drop is None else _less_accurate(found, limits.drop)
    if limits.strict:
        worse += [f"{name} is no longer measured" for name in found.only_before]
    if worse:
        raise GateError(f"{'; '.join(worse)}: expected none of this; find out what changed, or allow for more")


def _slower(found: Comparison, percent: float, *, strict: bool) -> list[str]:
    if not any(timed.ratio for timed in found.timed):
        raise DeployError(
            "--max-regress has nothing to judge: expected candidates and batch sizes with 6 rounds or more in both "
            "reports; measure with more --rounds"
        )
    limit = 1 + percent / 100
    return [_told(timed, percent) for timed in found.timed if _low(timed, strict=strict) > limit]


def _low(timed: Timed, *, strict: bool) -> float:
    if timed.ratio is None:
        return timed.after_ms / timed.before_ms if strict else 0.0
    return timed.ratio.value if strict else timed.ratio.low


def _told(timed: Timed, percent: float) -> str:
    ratio = timed.ratio
    times = f"{timed.before_ms:.4g} to {timed.after_ms:.4g} ms"
    shown = f"ratio {ratio.value:.3f}, {ratio.low:.3f} to {ratio.high:.3f}" if ratio else "too few rounds to tell"
    return f"{timed.name} at batch {timed.batch} takes more than {percent:g} % longer ({times}; {shown})"


def _less_accurate(found: Comparison, points: float) -> list[str]:
    if not found.scored:
        why = found.answers or "no candidate has them in both reports"
        raise DeployError(
            f"--max-drop has no answers to compare ({why}): expected answers to the same images in both reports"
        )
    return [
        f"{scored.name} loses {100 * scored.lost / scored.images:.2f} points of top-1 ({scored.before} to "
        f"{scored.after} of {scored.images} images, at most {points:g} points allowed)"
        for scored in found.scored
        if exceeds(scored.lost, scored.images, points)
    ]
