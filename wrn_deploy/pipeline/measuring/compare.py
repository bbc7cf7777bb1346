"""Compares two reports in files; checks the gates on what is slower or less accurate than before, or than fp32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wrn_deploy.bench.report.compare import Comparison, Timed, compare_reports
from wrn_deploy.bench.report.report import Report, RowKey, read_report
from wrn_deploy.bench.report.scores import exceeds
from wrn_deploy.errors import DeployError, GateError
from wrn_deploy.formatting import describe_loss
from wrn_deploy.rendering.comparability import comparison_warnings, obstacles
from wrn_deploy.rendering.comparison import NamedReport
from wrn_deploy.rendering.remarks import doubts
from wrn_deploy.spec import Precision

__all__ = [
    "RegressionLimits", "check_comparison", "check_conclusive", "check_drop", "compare_files", "read_history",
    "report_at",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RegressionLimits:
    """How much may become worse; None: any amount.

    Args:
        regress: maximum increase of a time, in percent.
        drop: maximum loss of top-1, in points.
        strict: a time above the limit fails even if its interval does not show it; so do a missing row and a ratio that
            is too noisy, or of too few rounds, to conclude.
    """

    regress: float | None = None
    drop: float | None = None
    strict: bool = False


def report_at(path: Path) -> Path:
    """The file of a report: itself, or bench.json in a bundle's reports, or in the folder.

    Raises:
        DeployError: a folder has no report.
    """
    if not path.is_dir():
        return path
    places = (path / "reports" / "bench.json", path / "bench.json")
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise DeployError(f"{path} has no report: expected {places[0]} or {places[1]}; run `wrn-deploy bench {path}`")
    return found


def read_history(paths: Sequence[Path]) -> tuple[NamedReport, ...]:
    """Reads reports that may be compared, in the order given.

    Raises:
        DeployError: one is not a report, or may not be compared with the last.
    """
    reports = [NamedReport(str(path), read_report(report_at(path))) for path in paths]
    for named in reports[:-1]:
        reasons = obstacles(named.report, reports[-1].report)
        if reasons:
            raise DeployError(
                f"{named.name} and {reports[-1].name} cannot be compared ({'; '.join(reasons)}): expected the same in "
                "all; measure on one machine with the same options"
            )
    return tuple(reports)


def compare_files(before: Path, after: Path, baseline: RowKey | None = None) -> tuple[Comparison, tuple[str, ...]]:
    """Compares two reports; returns the comparison, and notes on what else differs.

    Raises:
        DeployError: a file is not a report, the two may not be compared, or they have nothing in common.
    """
    old, new = read_report(report_at(before)), read_report(report_at(after))
    reasons = obstacles(old, new, baseline)
    if reasons:
        raise DeployError(
            f"{before} and {after} cannot be compared ({'; '.join(reasons)}): expected the same in both; "
            "measure both on one machine with the same options"
        )
    found = compare_reports(old, new, baseline)
    if not found.timed and not found.scored:
        why = f", and predictions are not compared because {found.answers}" if found.answers else ""
        raise DeployError(
            f"{before} and {after} have no candidate and batch size in common{why}: expected at least one; measure "
            "the same --backend, --precision and --batches"
        )
    return found, comparison_warnings(old, new)


def check_comparison(found: Comparison, limits: RegressionLimits) -> None:
    """Checks that no time is shown to be above the limit, and that no candidate loses more right answers than allowed.

    A time is above the limit if its whole interval is; with `strict`, if the ratio itself is.

    Raises:
        GateError: something became worse, with every case.
        DeployError: nothing could be judged, and no lost answers are more than allowed.
    """
    lost = [] if limits.drop is None else _less_accurate(found, limits.drop)
    if limits.regress is not None and not lost and not limits.strict:
        _check_judged(found)
    worse = [] if limits.regress is None else _slower(found, limits.regress, strict=limits.strict)
    worse += lost
    if limits.strict:
        worse += [f"{name} is no longer measured" for name in found.only_before]
        worse += [_describe_open(timed) for timed in found.timed if not timed.verdict.holds]
    if worse:
        raise GateError(f"{'; '.join(worse)}: expected no regression; find out what changed, or raise the limits")


def _judged(found: Comparison) -> list[Timed]:
    return [timed for timed in found.timed if timed.verdict.low is not None]


def _check_judged(found: Comparison) -> None:
    if not _judged(found):
        reasons = "; ".join(_describe_open(timed) for timed in found.timed) or "no times"
        raise DeployError(
            f"--max-regress has nothing to check ({reasons}): expected candidates and batch sizes with 6 rounds or "
            "more in both reports, and a quiet machine; measure again, with more --rounds"
        )


def _slower(found: Comparison, percent: float, *, strict: bool) -> list[str]:
    limit = 1 + percent / 100
    return [_describe_slower(timed, percent) for timed in _judged(found) if _low(timed, strict=strict) > limit]


def _low(timed: Timed, *, strict: bool) -> float:
    """What is compared with the limit: the lower end of the interval, or the ratio itself."""
    found = timed.verdict
    return (found.ratio if strict else None) or found.low or 0.0


def _describe_slower(timed: Timed, percent: float) -> str:
    found = timed.verdict
    times = f"{timed.before_ms:.4g} to {timed.after_ms:.4g} ms"
    ratio = "" if found.ratio is None else f"{found.ratio:.3f}, "
    shown = f"ratio {ratio}{found.low:.3f} to {found.high:.3f}"
    return f"{timed.name} at batch {timed.batch} takes more than {percent:g} % longer ({times}; {shown})"


def _describe_open(timed: Timed) -> str:
    found = timed.verdict
    because = "" if found.because is None else f", since {found.because}"
    return f"{timed.name} at batch {timed.batch}: {found.words}{because}"


def _less_accurate(found: Comparison, points: float) -> list[str]:
    if not found.scored:
        why = found.answers or "no candidate has them in both reports"
        raise DeployError(
            f"--max-drop has no predictions to compare ({why}): expected predictions for the same images in both "
            "reports"
        )
    return [
        f"{scored.name}: {describe_loss(100 * scored.lost / scored.images, 'top-1')} ({scored.before} to "
        f"{scored.after} of {scored.images} images, at most {points:g} points allowed)"
        for scored in found.scored
        if exceeds(scored.lost, scored.images, points)
    ]


def check_drop(report: Report, max_drop: float) -> None:
    """Checks the accuracy of one report: no row may lose more than `max_drop` points of top-1 against fp32.

    All rows were measured on the same images, so right answers are counted: losing exactly `max_drop` passes.

    Raises:
        GateError: a row loses more, there is nothing to compare, or fp32 is no better than guessing.
    """
    measured = [(row, row.accuracy) for row in report.rows if row.accuracy is not None]
    fp32 = report.reference_accuracy
    if fp32 is None or all(row.precision is Precision.FP32 for row, _ in measured):
        names = ", ".join(row.name for row, _ in measured) or "nothing"
        raise GateError(
            f"--max-drop {max_drop:g} compares with fp32, and {names} was measured: expected fp32 and a row of lower "
            "precision; calibrate the bundle, leave --backend out, or install what the skipped rows need"
        )
    if not fp32.beats_guessing:
        raise GateError(
            f"{report.reference} is correct on {fp32.correct} of {fp32.images} images, not shown to be better than "
            f"guessing one of {len(fp32.classes)} classes: expected a trained network; check the weights, the order of "
            "the labels, --mean, --std and --resize"
        )
    for row, accuracy in measured:
        lost, images = fp32.correct - accuracy.correct, accuracy.images
        if exceeds(lost, images, max_drop):
            raise GateError(
                f"{row.name}: {describe_loss(100 * lost / images, 'top-1')} against {report.reference} "
                f"({accuracy.correct} instead of {fp32.correct} of {images} images): expected at "
                f"most {max_drop:g}; calibrate with more images or another --calib-method"
            )


def check_conclusive(report: Report) -> None:
    """Checks that all that a report says of times holds: no ratio is open or only a bound, and nothing disturbed it.

    Raises:
        GateError: something does not, with every reason.
    """
    found = " ".join(remark.text for remark in doubts(report))
    if found:
        raise GateError(
            f"--strict: {found} Expected conclusive ratios; measure again on a quiet machine, with more "
            "--rounds or a longer --duration"
        )
