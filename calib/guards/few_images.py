"""Guard: too few images, so that the thresholds depend on which ones they happened to be."""

from __future__ import annotations

import numpy as np

from wrn_deploy.calib.caution import Caution
from wrn_deploy.calib.guard import Calibrated

__all__ = ["ID", "look"]

ID = "few-images"


def look(seen: Calibrated) -> Caution | None:
    """Warns where the thresholds of the two halves of the images differ by more than `limits.spread`, in the median.

    The median, because a single tensor can stay apart: with 256 images some are 10 to 45 % apart in networks that lose
    nothing.
    """
    images = seen.table.images
    spreads = {name: found.disagreement(seen.threshold) for name, found in seen.ranges.items()}
    known = {name: spread for name, spread in spreads.items() if spread is not None}
    remedy = f"scales are not settled; calibrate on more, at first {4 * images} (--calib-size {4 * images})"
    if not known:
        numbers = {"images": float(images)}
        return Caution(
            ID, (), numbers, f"{images} calibration images cannot be halved to see how settled scales are", remedy
        )
    median = float(np.median([*known.values()]))
    if median <= seen.limits.spread:
        return None
    names = tuple(sorted(known, key=lambda name: -known[name]))
    worst = known[names[0]]
    return Caution(
        ID,
        names,
        {"images": float(images), "median": median, "worst": worst, "limit": seen.limits.spread},
        f"{images} calibration images are few: their halves give thresholds {median:.0%} apart in the median tensor, "
        f"{worst:.0%} in {names[0]}",
        remedy,
    )
