"""Keeps the lists of images that int8 graphs were made from, and warns if accuracy is measured on some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wrn_deploy.bundle import Bundle, Transaction
from wrn_deploy.calib.guard import CalibrationWarning
from wrn_deploy.data.sampling.overlap import ImageSet, read_image_set
from wrn_deploy.manifest import Artifact, Kind, Recipe
from wrn_deploy.pipeline.quantization.state import BEFORE, RECORD, is_finetuned
from wrn_deploy.spec import Precision

__all__ = ["CALIBRATION", "FINETUNING", "ImageList", "check_overlap"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageList:
    """The list of images that one artifact was made from, kept beside it.

    Attributes:
        key: that of the list; its file has the same name.
        source: the key of the artifact.
        warning: the id of the warning about such images; docs/reference/guards.md explains it.
        found: the text of the warning.
        remedy: what to do.
    """

    key: str
    source: str
    warning: str
    found: str
    remedy: str

    def add(self, step: Transaction, source: Artifact, images: ImageSet) -> Artifact:
        """Stages the list beside its artifact."""
        file = f"{self.key}.txt"
        step.file(file).write_text(images.to_text(), encoding="ascii")
        recipe = Recipe(parents={source.key: source.sha256})
        return step.add(
            self.key,
            kind=Kind.CALIBRATION,
            precision=Precision.INT8,
            path=file,
            recipe=recipe,
            facts={"images": len(images)},
        )

    def find(self, bundle: Bundle) -> Artifact | None:
        """The list; None: the bundle has none, or that of another artifact."""
        source = bundle.artifacts.get(self.source)
        return None if source is None else bundle.current(self.key, Recipe(parents={source.key: source.sha256}))


CALIBRATION = ImageList(
    key="calibration-images",
    source="calibration",
    warning="overlap",
    found="{shared:,} of {evaluated:,} evaluation images are also calibration images",
    remedy="int8 accuracy is too good on them; evaluate on other images",
)
FINETUNING = ImageList(
    key="finetuning-images",
    source=RECORD,
    warning="trained-on",
    found="the int8 graphs were fine-tuned on {shared:,} of {evaluated:,} evaluation images",
    remedy="int8 accuracy is too good on them; evaluate on other images",
)


def check_overlap(bundle: Bundle, digests: Sequence[bytes]) -> list[CalibrationWarning]:
    """Warns if some evaluated images, given by their `image_digest`, were calibrated on or trained on.

    Pixels are compared as the network gets them, so names and file formats do not matter.

    Raises:
        DeployError: a list is damaged.
    """
    finetuned = any(is_finetuned(bundle.artifacts.get(key)) for key in BEFORE)
    warnings = []
    for images in (CALIBRATION, FINETUNING) if finetuned else (CALIBRATION,):
        listed = images.find(bundle)
        shared = 0 if listed is None else read_image_set(bundle.file(listed)).count(digests)
        if shared:
            numbers = {"shared": shared, "evaluated": len(digests)}
            found = images.found.format(**numbers)
            warnings.append(
                CalibrationWarning(id=images.warning, names=(), numbers=numbers, found=found, remedy=images.remedy)
            )
    return warnings
