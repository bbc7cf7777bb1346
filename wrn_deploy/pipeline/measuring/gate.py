"""The accuracy gate: what a report may lose against its fp32 reference."""

from __future__ import annotations

from wrn_deploy.bench.report.report import Report
from wrn_deploy.bench.report.scores import exceeds
from wrn_deploy.errors import GateError
from wrn_deploy.spec import Precision

__all__ = ["check_drop"]


def check_drop(report: Report, max_drop: float) -> None:
    """The accuracy gate: no row's top-1 may lie more than `max_drop` points below the reference row's.

    All rows were measured on the same images, so that right answers are counted: losing exactly `max_drop` passes.

    Raises:
        GateError: one does, or there is nothing to compare.
    """
    measured = [row for row in report.rows if row.accuracy is not None]
    reference = next((row for row in measured if row.name == report.reference), None)
    lower = [row for row in measured if row.precision is not Precision.FP32]
    if reference is None or reference.accuracy is None or not lower:
        names = ", ".join(row.name for row in measured) or "nothing"
        raise GateError(
            f"--max-drop {max_drop:g} compares with fp32, and {names} was measured: expected fp32 and a row of lower "
            "precision; calibrate the bundle, leave --backend out, or install what the skipped rows need"
        )
    for row in measured:
        assert row.accuracy is not None
        lost, images = reference.accuracy.correct - row.accuracy.correct, row.accuracy.images
        if exceeds(lost, images, max_drop):
            raise GateError(
                f"{row.name} loses {100 * lost / images:.2f} points of top-1 against {reference.name} "
                f"({100 * row.accuracy.top1:.2f} % instead of {100 * reference.accuracy.top1:.2f} %): expected at "
                f"most {max_drop:g}; calibrate with more images or another --calib-method"
            )
