"""Guard: warns of too few images, so that the thresholds depend on which images were chosen."""

from __future__ import annotations

import numpy as np

from wrn_deploy.calib.guard import Calibrated, CalibrationWarning

__all__ = ["ID", "check"]

ID = "few-images"


def check(calibrated: Calibrated) -> CalibrationWarning | None:
    """Warns if the two halves of the images give thresholds that differ by more than `limits.spread`, in the median.

    The median, because single tensors can differ in any case: with 256 images some differ by 10 to 45 % in networks
    that lose no accuracy.
    """
    images, limit = calibrated.table.images, calibrated.limits.spread
    spreads = {name: found.disagreement(calibrated.threshold) for name, found in calibrated.ranges.items()}
    known = {name: spread for name, spread in spreads.items() if spread is not None}
    names = tuple(sorted(known, key=lambda name: -known[name]))
    numbers = {"images": float(images)}
    found = f"{images} calibration images cannot be halved to measure how stable the scales are"
    if known:
        median, worst = float(np.median([*known.values()])), known[names[0]]
        if median <= limit:
            return None
        numbers |= {"median": median, "worst": worst, "limit": limit}
        found = (
            f"{images} calibration images are few: their halves give thresholds {median:.0%} apart in the median "
            f"tensor, {worst:.0%} in {names[0]}"
        )
    remedy = f"the scales are unstable; use more images, {4 * images} to begin with (--calib-size {4 * images})"
    return CalibrationWarning(id=ID, names=names, numbers=numbers, found=found, remedy=remedy)
