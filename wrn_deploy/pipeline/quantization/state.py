"""How a bundle shows that its int8 graphs were fine-tuned; what fine-tuning is, is in `finetune.py`."""

from __future__ import annotations

from collections.abc import Sequence

from wrn_deploy.bundle import Artifact, Bundle, Kind, Recipe, Transaction
from wrn_deploy.calib.warning import CalibrationWarning
from wrn_deploy.data.sampling.overlap import ImageSet, read_image_set
from wrn_deploy.spec import Precision

__all__ = [
    "BEFORE", "IMAGES", "OPTION", "RECORD", "add_trained_images", "before_finetuning", "check_trained_overlap",
    "is_finetuned", "made_by",
]  # fmt: skip

OPTION = "finetune"  # in a fine-tuned graph's recipe: what was asked for
RECORD = "finetuning"  # the key of the report
IMAGES = "finetuning-images"  # the key of the list of images that were trained on
ID = "trained-on"
IMAGES_FILE = "finetuning-images.txt"
# Where the graph is kept that calibration (and tuning) had made: PTQ is quantization after training.
BEFORE = {"onnx-int8-tensorrt": "onnx-int8-tensorrt-ptq", "onnx-int8-onnxruntime": "onnx-int8-onnxruntime-ptq"}


def is_finetuned(graph: Artifact | None) -> bool:
    """Whether fine-tuning made this int8 graph; None: the bundle has none."""
    return graph is not None and OPTION in graph.recipe.options


def before_finetuning(bundle: Bundle, key: str, remedy: str) -> Artifact:
    """The int8 graph as it was before it was fine-tuned, or as it is if it was not.

    Raises:
        DeployError: it is missing, stale or damaged.
    """
    made = bundle.find(key, remedy)
    return bundle.find(BEFORE[key], remedy) if is_finetuned(made) else made


def made_by(bundle: Bundle, key: str, recipe: Recipe) -> bool:
    """Whether the int8 graph was made by this recipe; one that was fine-tuned since counts."""
    if bundle.current(key, recipe) is not None:
        return True
    return is_finetuned(bundle.artifacts.get(key)) and bundle.current(BEFORE[key], recipe) is not None


def add_trained_images(step: Transaction, record: Artifact, images: ImageSet) -> Artifact:
    """Stages the list of the images that were trained on, beside the report that tells of it."""
    step.file(IMAGES_FILE).write_text(images.to_text(), encoding="ascii")
    recipe = Recipe({record.key: record.sha256})
    return step.add(IMAGES, (Kind.CALIBRATION, Precision.INT8), IMAGES_FILE, recipe, {"images": len(images)})


def check_trained_overlap(bundle: Bundle, digests: Sequence[bytes]) -> CalibrationWarning | None:
    """Warns when some of the images that are evaluated, given by their `image_digest`, were trained on.

    None for a bundle whose int8 graphs are not fine-tuned.

    Raises:
        DeployError: the list is damaged.
    """
    record = bundle.artifacts.get(RECORD)
    if record is None or not any(is_finetuned(bundle.artifacts.get(key)) for key in BEFORE):
        return None
    listed = bundle.current(IMAGES, Recipe({record.key: record.sha256}))
    shared = 0 if listed is None else read_image_set(bundle.file(listed)).count(digests)
    if not shared:
        return None
    return CalibrationWarning(
        id=ID,
        names=(),
        numbers={"shared": shared, "evaluated": len(digests)},
        found=f"the int8 graphs were fine-tuned on {shared:,} of {len(digests):,} evaluation images",
        remedy="int8 accuracy is too good on them; evaluate on other images",
    )
