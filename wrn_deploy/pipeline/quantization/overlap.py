"""Keeps the list of calibration images, and warns if accuracy is measured on some of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wrn_deploy.bundle import Artifact, Bundle, Kind, Recipe, Transaction
from wrn_deploy.calib.warning import CalibrationWarning
from wrn_deploy.data.sampling.overlap import ImageSet, read_image_set
from wrn_deploy.spec import Precision

__all__ = ["ID", "IMAGES", "add_images", "check_overlap", "images_recipe"]

ID = "overlap"
IMAGES = "calibration-images"  # the artifact's key
FILE = "calibration-images.txt"


def images_recipe(table: Artifact) -> Recipe:
    """The recipe of the list of images: its table."""
    return Recipe(parents={table.key: table.sha256})


def add_images(step: Transaction, table: Artifact, digests: Iterable[bytes]) -> Artifact:
    """Stages the list of the images, given by their `image_digest`, beside their table."""
    images = ImageSet.of(digests)
    step.file(FILE).write_text(images.to_text(), encoding="ascii")
    return step.add(
        IMAGES,
        kind=Kind.CALIBRATION,
        precision=Precision.INT8,
        path=FILE,
        recipe=images_recipe(table),
        facts={"images": len(images)},
    )


def check_overlap(bundle: Bundle, digests: Sequence[bytes]) -> CalibrationWarning | None:
    """Warns if some evaluated images, given by their `image_digest`, are calibration images.

    Pixels are compared as the network gets them, so names and file formats do not matter. None if the bundle has no
    list of its table's images.

    Raises:
        DeployError: the list is damaged.
    """
    table = bundle.artifacts.get("calibration")
    artifact = None if table is None else bundle.current(IMAGES, images_recipe(table))
    if artifact is None:
        return None
    shared = read_image_set(bundle.file(artifact)).count(digests)
    if not shared:
        return None
    return CalibrationWarning(
        id=ID,
        names=(),
        numbers={"shared": shared, "evaluated": len(digests)},
        found=f"{shared:,} of {len(digests):,} evaluation images are also calibration images",
        remedy="int8 accuracy is too good on them; evaluate on other images, or calibrate on others (--calib-data)",
    )
