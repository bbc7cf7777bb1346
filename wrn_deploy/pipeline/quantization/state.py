"""The state of a bundle's int8 graphs: whether they were tuned or fine-tuned, and the graphs from before that."""

from __future__ import annotations

from collections.abc import Sequence

from wrn_deploy.bundle import Artifact, Bundle, Kind, Recipe, Transaction
from wrn_deploy.calib.warning import CalibrationWarning
from wrn_deploy.data.sampling.overlap import ImageSet, read_image_set
from wrn_deploy.spec import Precision

__all__ = [
    "BEFORE", "FINETUNE", "GRAPH", "IMAGES", "RECORD", "TUNE", "UNTUNED", "add_trained_images", "before_finetuning",
    "check_trained_overlap", "is_finetuned", "is_tuned", "made_by",
]  # fmt: skip

TUNE, FINETUNE = "tune", "finetune"  # the options of these steps, in the recipe of a graph that they made
GRAPH = "onnx-int8-tensorrt"  # the graph that tuning changes
UNTUNED = "onnx-int8-untuned"  # the graph from before tuning, with every Conv in int8
RECORD = "finetuning"  # the key of the report
IMAGES = "finetuning-images"  # the key of the list of images that were trained on
ID = "trained-on"
IMAGES_FILE = "finetuning-images.txt"
# The graphs from before fine-tuning, which calibration and tuning made (PTQ is quantization after training).
BEFORE = {"onnx-int8-tensorrt": "onnx-int8-tensorrt-ptq", "onnx-int8-onnxruntime": "onnx-int8-onnxruntime-ptq"}


def is_tuned(graph: Artifact | None) -> bool:
    """Whether tuning made this int8 graph; None: the bundle has none."""
    return graph is not None and TUNE in graph.recipe.options


def is_finetuned(graph: Artifact | None) -> bool:
    """Whether fine-tuning made this int8 graph; None: the bundle has none."""
    return graph is not None and FINETUNE in graph.recipe.options


def before_finetuning(bundle: Bundle, key: str, remedy: str) -> Artifact:
    """The int8 graph from before fine-tuning; the graph itself if it was not fine-tuned.

    Raises:
        DeployError: it is missing, stale or damaged.
    """
    made = bundle.find(key, remedy)
    return bundle.find(BEFORE[key], remedy) if is_finetuned(made) else made


def made_by(bundle: Bundle, key: str, recipe: Recipe) -> bool:
    """Whether this recipe made the int8 graph, even if it was fine-tuned since."""
    if bundle.current(key, recipe) is not None:
        return True
    return is_finetuned(bundle.artifacts.get(key)) and bundle.current(BEFORE[key], recipe) is not None


def add_trained_images(step: Transaction, record: Artifact, images: ImageSet) -> Artifact:
    """Stages the list of the images that were trained on, beside the report of the training."""
    step.file(IMAGES_FILE).write_text(images.to_text(), encoding="ascii")
    recipe = Recipe(parents={record.key: record.sha256})
    return step.add(
        IMAGES,
        kind=Kind.CALIBRATION,
        precision=Precision.INT8,
        path=IMAGES_FILE,
        recipe=recipe,
        facts={"images": len(images)},
    )


def check_trained_overlap(bundle: Bundle, digests: Sequence[bytes]) -> CalibrationWarning | None:
    """Warns if some evaluated images, given by their `image_digest`, were trained on.

    None for a bundle whose int8 graphs are not fine-tuned.

    Raises:
        DeployError: the list is damaged.
    """
    record = bundle.artifacts.get(RECORD)
    if record is None or not any(is_finetuned(bundle.artifacts.get(key)) for key in BEFORE):
        return None
    listed = bundle.current(IMAGES, Recipe(parents={record.key: record.sha256}))
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
